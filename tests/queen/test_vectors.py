"""Short questions to a worker, and what is made of vectors and scores: encodings, ranking."""

from __future__ import annotations

import math

import pytest

from rbee.contracts.worker_api import Ranks, Vectors
from rbee.errors import Invalid
from rbee.queen.openai import vectors
from rbee.queen.openai.vector_requests import EmbeddingRequest, RerankRequest
from tests.http import ask
from tests.queen.conftest import queen, stub


def test_vectors() -> None:
    found = Vectors(model="m", vectors=[[3.0, 4.0, 12.0]], prompt_tokens=2)
    asked = EmbeddingRequest(model="bee", input="x", dimensions=2)
    assert vectors.embeddings(found, asked)["data"][0]["embedding"] == [0.6, 0.8]
    asked.dimensions = 4
    with pytest.raises(Invalid):
        vectors.embeddings(found, asked)
    assert math.isclose(vectors.cosine([1, 0], [1, 1]), math.sqrt(0.5))
    assert vectors.cosine([0, 0], [1, 1]) == 0.0


def test_ranks() -> None:
    asked = RerankRequest(model="m", query="q", documents=["a", "b", "c"], top_n=2)
    by_model = vectors.by_model(Ranks(model="m", scores=[-3.0, 4.5, 4.5], prompt_tokens=9), asked)
    assert [(r["index"], r["relevance_score"]) for r in by_model["results"]] == [(1, 4.5), (2, 4.5)]
    assert by_model["usage"]["total_tokens"] == 9
    found = Vectors(model="m", vectors=[[1, 0], [0, 1], [1, 0], [1, 1]], prompt_tokens=9)
    asked.return_documents = True
    by_cosine = vectors.by_cosine(found, asked)
    assert [r["document"]["text"] for r in by_cosine["results"]] == ["b", "c"]


def test_rerank_and_tokens(a_queen: str) -> None:
    found = ask(
        "POST",
        f"{a_queen}/v1/rerank",
        {"model": "bee", "query": "four", "documents": ["sixsix", "five"], "top_n": 1},
    ).json()
    assert [r["index"] for r in found["results"]] == [1]
    ids = ask("POST", f"{a_queen}/tokenize", {"model": "bee", "text": "hi"}).json()
    assert ids == {"model": "bee", "tokens": [104, 105], "count": 2}
    text = ask("POST", f"{a_queen}/detokenize", {"tokens": ids["tokens"]}).json()
    assert text["text"] == "hi"
    asked = {"model": "bee", "messages": [{"role": "user", "content": "hi"}]}
    assert ask("POST", f"{a_queen}/apply-template", asked).json()["prompt"] == "<user>hi"


def test_a_model_that_ranks_is_asked_to() -> None:
    asked = {"model": "ranker", "query": "q", "documents": ["aa", "a", {"text": "aaa"}]}
    with queen() as q, stub(q.url, model="ranker", ranks=1):
        found = ask("POST", f"{q.url}/v1/rerank", {**asked, "return_documents": True}).json()
    assert [r["relevance_score"] for r in found["results"]] == [3.0, 2.0, 1.0]
    assert found["results"][0]["document"] == {"text": "aaa"}
