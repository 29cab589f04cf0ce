"""Workers of models that only make vectors or scores, asked over HTTP."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.http import Answer, ask
from tests.processes import Started
from tests.worker.bees import serving, status, until
from tests.worker.random_models import CLS, CONTEXT, SEP, TOKENS, encoder

TEXTS = ["the queen lives in a hive", "honey", "the bee makes honey."]
NAMES = {"encoder": "encoder.gguf", "ranker": "ranker.gguf"}


@pytest.fixture(scope="module")
def encoding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    path = encoder(tmp_path_factory.mktemp("encoder") / NAMES["encoder"])
    with serving(model=path, slots=2) as process:
        yield process


@pytest.fixture(scope="module")
def ranking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    path = encoder(tmp_path_factory.mktemp("ranker") / NAMES["ranker"], ranks=True)
    with serving(model=path) as process:
        yield process


def post(worker: Started, path: str, **body: Any) -> Answer:
    return ask("POST", worker.url + path, {"model": status(worker.url)["model"], **body})


def vectors(worker: Started, *given: Any, **fields: Any) -> list[list[float]]:
    answer = post(worker, "/v1/embed", input=list(given), **fields)
    assert answer.status == 200, answer.body
    found: list[list[float]] = answer.json()["vectors"]
    return found


def scores(worker: Started, query: str, *documents: str) -> list[float]:
    answer = post(worker, "/v1/rank", query=query, documents=list(documents))
    assert answer.status == 200, answer.body
    found: list[float] = answer.json()["scores"]
    return found


def test_it_says_what_it_can(encoding: Started, ranking: Started, bee_worker: Started) -> None:
    def told(worker: Started) -> tuple[bool, bool, bool]:
        said = status(worker.url)
        return said["generates"], said["embeds"], said["ranks"]

    assert told(encoding) == (False, True, False)
    assert told(ranking) == (False, False, True)
    assert told(bee_worker) == (True, True, False)
    assert status(encoding.url)["context"] == CONTEXT


def test_texts_ids_and_both_side_by_side(encoding: Started) -> None:
    ids = [CLS, TOKENS.index("▁honey"), SEP]
    together = vectors(encoding, *TEXTS, ids)
    assert together[3] == pytest.approx(together[1], abs=1e-5)
    for text, vector in zip(TEXTS, together, strict=False):
        assert math.hypot(*vector) == pytest.approx(1.0, abs=1e-5)
        [alone] = vectors(encoding, text)
        assert alone == pytest.approx(vector, abs=1e-4)
    [raw] = vectors(encoding, "honey", normalise=False)
    assert math.hypot(*raw) != pytest.approx(1.0, abs=1e-3)


def test_tokens_are_counted_with_their_frame(encoding: Started) -> None:
    answer = post(encoding, "/v1/embed", input=["honey", "the queen"]).json()
    assert answer["prompt_tokens"] == 3 + 4


def test_as_many_inputs_as_a_request_may_have(encoding: Started) -> None:
    found = vectors(encoding, *["honey", "the bee"] * 1_024)
    assert len(found) == 2_048
    assert found[2_046] == pytest.approx(found[0], abs=1e-4)
    assert post(encoding, "/v1/embed", input=["honey"] * 2_049).status == 422


def test_scores_follow_the_documents(ranking: Started) -> None:
    found = scores(ranking, "who makes honey", *TEXTS, "")
    assert len(set(found)) == len(found) == 4
    assert scores(ranking, "who makes honey", *reversed(TEXTS)) == pytest.approx(
        list(reversed(found[:3])), abs=1e-4
    )
    assert scores(ranking, "in the hive", TEXTS[0]) != pytest.approx(found[:1], abs=1e-4)


def test_what_a_model_cannot_do_is_said(
    encoding: Started, ranking: Started, bee_worker: Started
) -> None:
    def refused(worker: Started, path: str, **body: Any) -> str:
        answer = post(worker, path, **body)
        assert answer.status == 400, answer.body
        problem = answer.json()["error"]
        assert problem["param"] == "model"
        return str(problem["message"])

    for worker in (encoding, ranking):
        for stream in (True, False):
            body = {"operation": "infer", "prompt": "Hello", "stream": stream}
            assert "does not generate" in refused(worker, "/v1/infer", **body)
    assert "no vectors" in refused(ranking, "/v1/embed", input=["a"])
    for worker in (encoding, bee_worker):
        assert "does not rank" in refused(worker, "/v1/rank", query="a", documents=["b"])


LONG = "honey " * CONTEXT


@pytest.mark.parametrize(
    ("given", "code", "path"),
    [
        ([], 422, "input"),
        ([""], 400, "input[0]"),
        (["a", []], 422, "input[1]"),
        (["a", ""], 400, "input[1]"),
        ([[5, len(TOKENS)]], 422, "input[0]"),
        ([[-1]], 422, "input[0][0]"),
        ([[2**31]], 422, "input[0][0]"),
        (["a", 5], 422, "input[1]"),
        ([["a"]], 422, "input[0][0]"),
        ([None], 422, "input[0]"),
        ("a", 422, "input"),
        (["a", LONG], 400, "input[1]"),
        ([[5] * (CONTEXT + 1)], 400, "input[0]"),
        (["x" * 4_000_001], 422, "input[0]"),
    ],
)
def test_bad_inputs_are_told_by_their_place(
    encoding: Started, given: Any, code: int, path: str
) -> None:
    answer = post(encoding, "/v1/embed", input=given)
    assert answer.status == code, answer.body
    assert answer.json()["error"]["param"] == path
    assert vectors(encoding, "honey")


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ({"query": "", "documents": ["a"]}, 400, "query"),
        ({"query": "a", "documents": []}, 422, "documents"),
        ({"query": "a", "documents": ["b", LONG]}, 400, "documents[1]"),
        ({"query": LONG, "documents": ["b"] * 2_000}, 400, "documents[0]"),
        ({"query": "a", "documents": ["b"] * 2_049}, 422, "documents"),
        ({"query": "a", "documents": [5]}, 422, "documents[0]"),
        ({"query": "a"}, 422, "documents"),
    ],
)
def test_bad_pairs_are_told_by_their_place(
    ranking: Started, body: dict[str, Any], code: int, path: str
) -> None:
    answer = post(ranking, "/v1/rank", **body)
    assert answer.status == code, answer.body
    assert answer.json()["error"]["param"] == path
    assert scores(ranking, "a", "b")


@pytest.mark.parametrize("text", ["\x00\x01\x02", "\u202e\ufeff", " ", "[CLS][SEP][PAD]", "é" * 60])
def test_odd_texts_have_vectors_too(encoding: Started, text: str) -> None:
    [found] = vectors(encoding, text)
    assert all(math.isfinite(number) for number in found)


def test_half_a_character_is_refused(encoding: Started) -> None:
    body = b'{"model": "encoder.gguf", "input": ["\\ud800"]}'
    assert ask("POST", f"{encoding.url}/v1/embed", body).status == 400


def test_vectors_nobody_waits_for_are_not_computed(bee_worker: Started) -> None:
    before = status(bee_worker.url)["step"]
    given = {"model": "bee", "input": [[5] * 2_000] * 500}
    body = msgspec.json.encode(given)
    with socket.create_connection(("127.0.0.1", bee_worker.port), timeout=10) as connection:
        head = (
            f"POST /v1/embed HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: application/json\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        until(lambda: status(bee_worker.url)["step"] > before + 1)
    until(lambda: status(bee_worker.url)["step_age_s"] == 0.0)
    seen = status(bee_worker.url)["step"]
    assert seen < before + 100, "one step an input"
    vectors(bee_worker, "Hello")
    assert status(bee_worker.url)["step"] <= seen + 2
