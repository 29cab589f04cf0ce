"""What nobody should send, as OpenAI's clients would send it: a 400 that names their own field, or
the status that says more; soon, and with streams beside it that do not notice."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.beside import streams_beside
from tests.http import Answer, ask
from tests.system.stack import Stack, fact

WITHIN_S = 3.0
SETTLED_S = 3.0
"""Until then a queen waits for who may still report."""
CHAT, COMPLETE = "/v1/chat/completions", "/v1/completions"
HELLO = [{"role": "user", "content": "Hello"}]
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
CONTROLS = "".join(map(chr, [*range(32), *range(127, 160)]))


@pytest.fixture(scope="module", autouse=True)
def beside(shared: Stack) -> Iterator[None]:
    assert post(shared, CHAT, within_s=60.0).status == 200  # a worker is there
    fact(lambda: queen_status(shared)["uptime_s"] > SETTLED_S, "she knows her fleet")
    with streams_beside(f"{shared.queen}/v1/jobs"):
        yield

    def free() -> bool:
        workers = queen_status(shared)["workers"]
        return all(w["worker"]["busy"] == 0 == w["leased"] for w in workers)

    fact(free, "all slots are free")


def queen_status(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = ask("GET", f"{stack.queen}/v1/status").json()
    return found


def post(
    stack: Stack, path: str, raw: bytes | None = None, within_s: float = WITHIN_S, **fields: Any
) -> Answer:
    given = {"messages": HELLO} if path == CHAT else {"prompt": "Hello"}
    body = {"model": "bee", "max_tokens": 4, **given, **fields}
    began = time.monotonic()
    found = ask("POST", stack.queen + path, raw or body, timeout_s=60.0)
    assert time.monotonic() - began < within_s
    return found


def refused(found: Answer, param: str | None, status: int = 400) -> None:
    error = found.json()["error"]
    assert (found.status, error.get("param")) == (status, param), found.body[:500]
    assert error["type"] == "invalid_request_error" and error["message"].endswith((".", "?"))


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        (CHAT, {"n": 1_000}, "n"),
        (CHAT, {"temperature": 5.1}, "temperature"),
        (CHAT, {"max_tokens": 0}, "max_tokens"),
        (CHAT, {"max_completion_tokens": 2**40}, "max_completion_tokens"),
        (CHAT, {"stop": "x" * 100_000}, "stop"),
        (CHAT, {"stop": ["x"] * 17}, "stop"),
        (CHAT, {"logit_bias": {"1792": 1}}, "logit_bias"),
        (CHAT, {"messages": [{"role": "user", "content": [PICTURE]}]}, "messages"),
        (CHAT, {"messages": []}, "messages"),
        (CHAT, {"grammar": "root ::= root"}, "grammar"),
        (CHAT, {"regex": "("}, "regex"),
        (COMPLETE, {"prompt": ""}, "prompt"),
        (COMPLETE, {"prompt": [5, 1_792]}, "prompt"),
        (COMPLETE, {"prompt": [5] * 2_048}, "prompt"),
        (COMPLETE, {"prompt": [5] * 2_049}, "prompt"),
        (COMPLETE, {"max_tokens": 0}, "max_tokens"),
        (COMPLETE, {"n": 129}, "n"),
        (COMPLETE, {"logprobs": 21}, "logprobs"),
    ],
)
def test_a_fault_is_a_400_that_names_the_field(
    shared: Stack, path: str, fields: dict[str, Any], param: str
) -> None:
    refused(post(shared, path, **fields), param)
    refused(post(shared, path, stream=True, **fields), param)


@pytest.mark.parametrize("levels", [90, 1_000, 100_000])
def test_a_deep_schema(shared: Stack, levels: int) -> None:
    deep = '{"properties":{"a":' * levels + "{}" + "}}" * levels
    form = {"type": "json_schema", "json_schema": {"name": "deep", "schema": "DEEP"}}
    body = {"model": "bee", "messages": HELLO, "response_format": form}
    found = post(shared, CHAT, json.dumps(body).replace('"DEEP"', deep).encode())
    assert found.status == 400 and "nested" in found.json()["error"]["message"]
    refused(found, "response_format")  # also where the worker says it


def test_as_many_choices_as_are_allowed(shared: Stack) -> None:
    for path in (CHAT, COMPLETE):
        found = post(shared, path, within_s=10.0, n=128)
        assert found.status == 200 and len(found.json()["choices"]) == 128


def test_control_characters_and_half_a_character(shared: Stack) -> None:
    assert post(shared, COMPLETE, prompt=CONTROLS).status == 200
    body = b'{"model": "bee", "messages": [{"role": "user", "content": "\\ud800"}]}'
    found = post(shared, CHAT, body)
    assert (found.status, found.json()["error"]["code"]) == (400, "invalid_json")


def test_a_body_of_eight_mebibytes_is_read_and_one_byte_more_is_not(shared: Stack) -> None:
    body = json.dumps({"model": "bee", "messages": HELLO, "colour": 1}).encode()
    for size, status in ((8 * 2**20, 400), (8 * 2**20 + 1, 413)):
        assert post(shared, CHAT, body + b" " * (size - len(body))).status == status
