"""Models that make vectors or scores, from a hive's folder to OpenAI's client."""

from __future__ import annotations

import math
from collections.abc import Iterator

import openai
import pytest
from gguf import PoolingType

from tests.http import ask
from tests.system.stack import Stack, stack
from tests.worker.random_models import WIDTH, encoder

ENCODER, RANKER = "made/up/encoder.gguf", "made/up/ranker.gguf"
TEXTS = ["the queen lives in a hive", "honey", "the bee makes honey."]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("encoders")
    for name in (ENCODER, RANKER):
        path = home / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        encoder(path, PoolingType.CLS, ranks=name == RANKER)
    with stack(home) as made:
        yield made


@pytest.fixture
def client(fleet: Stack) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{fleet.queen}/v1", api_key="none", max_retries=0, timeout=60.0)


def test_an_encoder_answers_embeddings(client: openai.OpenAI) -> None:
    """The client asks for base64 unless told otherwise."""
    found = client.embeddings.create(model=ENCODER, input=TEXTS)
    assert [len(one.embedding) for one in found.data] == [WIDTH] * 3
    plain = client.embeddings.create(model=ENCODER, input=TEXTS[1], encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(found.data[1].embedding, abs=1e-4)
    assert plain.usage.prompt_tokens == 3
    short = client.embeddings.create(model=ENCODER, input=TEXTS[:1], dimensions=8)
    [vector] = [one.embedding for one in short.data]
    assert len(vector) == 8 and math.hypot(*vector) == pytest.approx(1.0, abs=1e-5)


def test_an_encoder_does_not_chat_and_nothing_is_started_for_it(
    client: openai.OpenAI, fleet: Stack
) -> None:
    for _ in range(2):
        with pytest.raises(openai.BadRequestError, match="does not generate"):
            client.chat.completions.create(
                model=ENCODER, messages=[{"role": "user", "content": "Hello"}]
            )
    holders = [w for w in fleet.client.status().workers if w.worker.model == ENCODER]
    assert len(holders) == 1


@pytest.mark.parametrize("model", [ENCODER, RANKER])
def test_documents_are_ranked_by_a_classifier_or_by_vectors(fleet: Stack, model: str) -> None:
    body = {"model": model, "query": "who makes honey", "documents": TEXTS, "top_n": 2}
    answer = ask("POST", f"{fleet.queen}/v1/rerank", body, timeout_s=60.0)
    assert answer.status == 200, answer.body
    first, second = answer.json()["results"]
    assert first["relevance_score"] >= second["relevance_score"]
    assert first["index"] != second["index"]


def test_a_ranker_makes_no_vectors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="no vectors"):
        client.embeddings.create(model=RANKER, input="honey")
