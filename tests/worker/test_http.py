"""What a worker refuses over HTTP, and with which words; it answers as before afterwards."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bee import known_answers as known
from tests.http import Answer, ask
from tests.processes import Started
from tests.worker.bees import infer, request

MEGABYTE = 1024 * 1024


def post(worker: Started, body: Any, path: str = "/v1/infer", **headers: str) -> Answer:
    return ask("POST", worker.url + path, body, headers)


def refused(found: Answer, status: int, code: str) -> dict[str, Any]:
    """The error's envelope, after its status and code were checked."""
    assert found.status == status, found.body[:500]
    error: dict[str, Any] = found.json()["error"]
    assert error["code"] == code and error["message"].endswith((".", "?")) and error["type"]
    return error


@pytest.fixture(scope="module", autouse=True)
def still_answering(bee_worker: Started) -> Iterator[None]:
    yield
    assert infer(bee_worker.url, "Hello")["choices"][0]["text"] == known.GREETING


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"hello",
        b"\xff\xfe",
        b'{"operation": "infer", "model": NaN}',
        b'{"operation": "infer", "model": "\\ud800"}',
        b'{"operation": "infer", "model": "\xff"}',
        b'{"operation": "infer", "json_schema": ' + b'{"a":' * 100_000,
    ],
    ids=range(8),
)
def test_what_is_not_json_is_a_400(bee_worker: Started, body: bytes) -> None:
    refused(post(bee_worker, body), 400, "invalid_json")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], "$"),
        ({"operation": "infer"}, "model"),
        (request("a") | {"operation": "dance"}, "operation"),
        (request("a", colour="red"), "colour"),
        (request("a", temperature="hot"), "temperature"),
        (request("a", temperature=None) | {"max_tokens": 1.5}, "max_tokens"),
        (request("a", stream="yes"), "stream"),
        (request("a", stop="text"), "stop"),
        (request("a", stop=[""]), "stop[0]"),
        (request("a", stop=["x" * 1_001]), "stop[0]"),
        (request("a", stop=["x"] * 17), "stop"),
        (request("a", logit_bias={"x": 1}), "logit_bias"),
        (request(messages=[]), "messages"),
        (request(messages=[{"role": "bee", "content": "a"}]), "messages[0].role"),
        (request(messages=[{"content": "a"}]), "messages[0].role"),
        (request(messages=[{"role": "user", "content": 5}]), "messages[0].content"),
        (request(prompt=[]), "prompt"),
        (request(prompt=[1, -1]), "prompt[1]"),
        (request(prompt=[1, 2**31]), "prompt[1]"),
        (request(prompt=[1, 1_792]), "prompt"),
        (request("a", tools=[{"function": {"name": "no spaces"}}]), "tools[0].function.name"),
        (request("a", model=""), "model"),
        (request("a", model="x" * 513), "model"),
        (request(), "prompt"),
        (request("a", prompt="b"), "prompt"),
        (request("a", tool_choice="required"), "tool_choice"),
        (request("a", logit_bias={"1792": 1}), "logit_bias"),
    ],
)
def test_a_fault_is_a_422_that_says_where(bee_worker: Started, body: Any, param: str) -> None:
    error = refused(post(bee_worker, body), 422, "invalid_field")
    found = str(error.get("param"))
    assert found == param or (param == "logit_bias" and found.startswith(param)), error


BOUNDS: dict[str, tuple[float, float, float]] = {
    # field: its least value, its greatest, and the step that leads outside
    "max_tokens": (1, 1_048_576, 1),
    "temperature": (0, 5, 0.001),
    "top_p": (0, 1, 0.001),
    "min_p": (0, 1, 0.001),
    "top_k": (0, 1_048_576, 1),
    "repeat_penalty": (1e-300, 10, 0.001),
    "presence_penalty": (-2, 2, 0.001),
    "frequency_penalty": (-2, 2, 0.001),
    "seed": (-(2**63), 2**63 - 1, 1),
    "logprobs": (0, 20, 1),
    "n": (1, 128, 1),
    "priority": (-100, 100, 1),
    "deadline_ms": (1, 86_400_000, 1),
}


@pytest.mark.parametrize("field", BOUNDS)
def test_every_number_is_taken_at_its_ends_and_refused_past_them(
    bee_worker: Started, field: str
) -> None:
    low, high, step = BOUNDS[field]
    for value in (low - step, high + step, 1e400 if field != "seed" else 2**70):
        body = json.dumps(request("a", **{field: value})).replace("Infinity", "1e400").encode()
        error = refused(post(bee_worker, body), 422, "invalid_field")
        assert error["param"] == field
        said_by_us = (field, value) == ("max_tokens", 0)  # which `echo` would make sense of
        assert said_by_us or error["message"].endswith(f"at $.{field}.")
    for value in (low, high):
        fields = {"temperature": 1, "max_tokens": 2, field: value}
        found = post(bee_worker, request("Hello", stream=False, **fields))
        late = field == "deadline_ms" and found.status == 504
        assert found.status == 200 or late, found.body


@pytest.mark.parametrize("value", [-100.5, 100.5])
def test_a_bias_has_ends_too(bee_worker: Started, value: float) -> None:
    refused(post(bee_worker, request("a", logit_bias={"5": value})), 422, "invalid_field")
    fields = {"logit_bias": {"5": max(-100, min(100, value))}, "max_tokens": 3, "stream": False}
    assert post(bee_worker, request("a", **fields)).status == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_prompt_longer_than_the_context_is_a_400_with_both_numbers(
    bee_worker: Started, stream: bool
) -> None:
    found = post(bee_worker, request(prompt=[5] * 3_000, stream=stream))
    error = refused(found, 400, "context_length_exceeded")
    assert "3000" in error["message"] and "2048" in error["message"]
    assert error["param"] == "prompt" and error["hint"]


def test_constraints_that_cannot_be_used_are_a_400_with_the_reason(bee_worker: Started) -> None:
    for fields, why in (
        ({"json_schema": {"type": "nope"}}, "nope"),
        ({"grammar": "root ::= other"}, "other"),
    ):
        assert (
            why in refused(post(bee_worker, request("a", **fields)), 400, "bad_request")["message"]
        )


@pytest.mark.parametrize("path", ["/v1/infer", "/v1/embed", "/tokenize", "/detokenize"])
@pytest.mark.parametrize("model", ["other", "../bee", "/etc/passwd", "bee\0", "BEE"])
def test_another_model_is_a_404(bee_worker: Started, path: str, model: str) -> None:
    bodies: dict[str, Any] = {
        "/v1/infer": request("a"),
        "/v1/embed": {"input": ["a"]},
        "/tokenize": {"text": "a"},
        "/detokenize": {"tokens": [1]},
    }
    error = refused(post(bee_worker, bodies[path] | {"model": model}, path), 404, "model_not_found")
    assert "'bee'" in error["message"] and "\0" not in error["message"]


def test_a_body_of_ten_megabytes_is_a_413(bee_worker: Started) -> None:
    body = json.dumps(request("x" * 10 * MEGABYTE)).encode()
    refused(post(bee_worker, body), 413, "too_large")


def test_a_body_of_ten_megabytes_in_chunks_is_a_413(bee_worker: Started) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", bee_worker.port, timeout=20)
    try:
        pieces = iter([b" " * MEGABYTE] * 10)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/infer", pieces, headers, encode_chunked=True)
        response = connection.getresponse()
        assert response.status == 413, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/", "/health", "/v1/status", "/v1/infer"])
def test_a_wrong_host_is_a_403(bee_worker: Started, path: str) -> None:
    method = "POST" if path == "/v1/infer" else "GET"
    found = ask(method, bee_worker.url + path, headers={"Host": "evil.example:8080"})
    refused(found, 403, "forbidden")


def test_a_page_of_another_origin_may_not_write(bee_worker: Started) -> None:
    refused(post(bee_worker, request("a"), Origin="http://evil.example"), 403, "forbidden")


def test_a_body_that_is_not_declared_as_json_is_a_415(bee_worker: Started) -> None:
    found = ask("POST", f"{bee_worker.url}/v1/infer", b"{}", {"Content-Type": "text/plain"})
    refused(found, 415, "wrong_media_type")


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"worker_id": "another"}, "worker_not_found"),
        ({"hive_id": "another"}, "hive_not_found"),
        ({"device": "cuda:1"}, "not_found"),
    ],
)
def test_what_was_meant_for_another_is_a_404(
    bee_worker: Started, wish: dict[str, str], code: str
) -> None:
    refused(post(bee_worker, request("a", **wish)), 404, code)
    own = ask("GET", f"{bee_worker.url}/v1/status").json()
    here = {"worker_id": own["id"], "device": own["device"]}
    assert post(bee_worker, request("a", max_tokens=1, **here)).status == 200


def test_unknown_paths_and_methods_are_said(bee_worker: Started) -> None:
    refused(ask("GET", f"{bee_worker.url}/nowhere"), 404, "not_found")
    refused(ask("GET", f"{bee_worker.url}/v1/infer"), 405, "method_not_allowed")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"input": []}, 422, "input"),
        ({"input": "text"}, 422, "input"),
        ({"input": ["a", ""]}, 400, "input[1]"),
        ({"input": ["a"] * 2_049}, 422, "input"),
        ({"input": [[5] * 2_049]}, 400, "input[0]"),
        ({"input": [[5_000]]}, 422, "input[0]"),
    ],
)
def test_inputs_of_vectors_have_limits(
    bee_worker: Started, body: dict[str, Any], status: int, param: str
) -> None:
    found = post(bee_worker, {"model": "bee", **body}, "/v1/embed")
    assert (found.status, found.json()["error"]["param"]) == (status, param)


def test_what_every_role_answers(bee_worker: Started) -> None:
    for path in ("/health", "/ready"):
        assert ask("GET", bee_worker.url + path).json()["role"] == "worker"
    assert b"<html" in ask("GET", bee_worker.url + "/").body.lower()
    metrics = ask("GET", f"{bee_worker.url}/metrics").body.decode()
    for name in ("rbee_requests_total", "rbee_generated_tokens_total", "rbee_slots 4.0"):
        assert name in metrics
    paths = ask("GET", f"{bee_worker.url}/v1/openapi.json").json()["paths"]
    assert {"/v1/infer", "/v1/embed", "/tokenize", "/detokenize", "/v1/status"} <= set(paths)
