"""What nobody should send: a clear 4xx each, or an answer, and the worker goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bee import known_answers as known
from tests.http import Answer, ask
from tests.processes import Started
from tests.worker.bees import infer, request

CONTROLS = "".join(map(chr, [*range(32), *range(127, 160)]))
LONG = "a" * 65_536
CHAT = [{"role": "user", "content": "Hi"}]


def post(worker: Started, body: Any, path: str = "/v1/infer") -> Answer:
    return ask("POST", worker.url + path, body)


@pytest.fixture(scope="module", autouse=True)
def still_answering(bee_worker: Started) -> Iterator[None]:
    yield
    assert infer(bee_worker.url, "Hello")["choices"][0]["text"] == known.GREETING


@pytest.mark.parametrize("stop", [["x" * 100_000], ["x" * 1_000] * 100, ["x"] * 100_000])
def test_a_hundred_thousand_stop_characters_are_a_422(bee_worker: Started, stop: list[str]) -> None:
    found = post(bee_worker, request("a", stop=stop))
    assert found.status == 422 and found.json()["error"]["param"].startswith("stop")


@pytest.mark.parametrize(
    "fields", [{"prompt": CONTROLS}, {"messages": [{"role": "user", "content": CONTROLS}]}]
)
def test_control_characters_are_a_prompt(bee_worker: Started, fields: dict[str, Any]) -> None:
    answer = infer(bee_worker.url, max_tokens=2, stop=["\x00" * 1_000] * 16, **fields)
    assert answer["usage"]["prompt_tokens"] > 0


@pytest.mark.parametrize("field", ["prompt", "suffix", "regex", "grammar", "cache_salt", "model"])
@pytest.mark.parametrize("half", ["\\ud800", "\\udfff", "a\\ud83d b"])
def test_half_a_character_is_a_400(bee_worker: Started, field: str, half: str) -> None:
    body = json.dumps(request(**{field: "HALF"})).replace("HALF", half)
    found = post(bee_worker, body.encode())
    assert found.status == 400 and found.json()["error"]["code"] == "invalid_json"


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"prompt": ""}, 400, "prompt"),
        ({"prompt": "", "suffix": "b"}, 400, "suffix"),
        ({"prompt": "a", "max_tokens": 0}, 422, "max_tokens"),
        ({"prompt": "a", "lora": "nobody"}, 400, "lora"),
        ({"prompt": "a", "lora": "../x"}, 422, "lora"),
        ({"prompt": "a", "cache_salt": "s" * 257}, 422, "cache_salt"),
        ({"prompt": "a", "chat_template_kwargs": {}}, 422, "chat_template_kwargs"),
        ({"prompt": "a", "regex": "("}, 400, "regex"),
        ({"prompt": "a", "regex": "a", "json_schema": {}}, 422, None),
        ({"messages": CHAT, "chat_template_kwargs": {"messages": 1}}, 400, "chat_template_kwargs"),
        ({"messages": CHAT, "chat_template_kwargs": {"x": LONG}}, 400, "chat_template_kwargs"),
        ({"messages": CHAT, "suffix": "b"}, 422, "suffix"),
    ],
)  # fmt: skip
def test_a_fault_is_a_4xx_that_says_where(
    bee_worker: Started, fields: dict[str, Any], status: int, param: str | None
) -> None:
    found = post(bee_worker, request(**fields))
    error = found.json()["error"]
    assert found.status == status and error["message"].endswith("."), found.body
    assert error.get("param") == param


@pytest.mark.parametrize("levels", [200, 100_000])
def test_values_nested_deeply_are_an_answer_or_a_400(bee_worker: Started, levels: int) -> None:
    deep = b'{"x": ' * levels + b"1" + b"}" * levels
    body = (
        b'{"messages": [{"role": "user", "content": "Hi"}], "chat_template_kwargs": ' + deep + b"}"
    )
    found = post(bee_worker, body, "/apply-template")
    assert found.status == (200 if levels == 200 else 400), found.body[:300]


def test_a_large_number_for_the_template_is_no_bomb(bee_worker: Started) -> None:
    began = time.monotonic()
    body = b'{"messages": [{"role": "user", "content": "Hi"}], "chat_template_kwargs": {"x": %b}}'
    for number in (b"9" * 60_000, b"1e400", b"-0"):
        assert post(bee_worker, body % number, "/apply-template").status < 500
    assert time.monotonic() - began < 10


def test_a_chat_is_shown_as_the_model_reads_it(bee_worker: Started) -> None:
    tools = [{"function": {"name": "f", "parameters": {"type": "object"}}}]
    plain = post(bee_worker, {"messages": CHAT}, "/apply-template").json()
    assert plain == {
        "model": "bee",
        "prompt": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    }
    assert (
        '"name": "f"'
        in post(bee_worker, {"messages": CHAT, "tools": tools}, "/apply-template").json()["prompt"]
    )
    assert post(bee_worker, {"messages": []}, "/apply-template").status == 422
    assert post(bee_worker, {"messages": CHAT, "model": "ant"}, "/apply-template").status == 404
