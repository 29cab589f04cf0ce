"""What nobody should send: a clear 4xx each, or an answer, soon; and the worker goes on, as do the
streams beside it. The numbers' limits are in `test_limits`, templates in `test_bad_template`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bee import known_answers as known
from tests.beside import streams_beside
from tests.http import Answer, ask
from tests.processes import Started
from tests.worker.bees import infer, request, status, until
from tests.worker.pictures import part, png_of, url

CONTROLS = "".join(map(chr, [*range(32), *range(127, 160)]))
LONG = "a" * 65_536
CHAT = [{"role": "user", "content": "Hi"}]


WITHIN_S = 3.0
CONTEXT = 2_048


def post(worker: Started, body: Any, path: str = "/v1/infer") -> Answer:
    began = time.monotonic()
    found = ask("POST", worker.url + path, body)
    assert time.monotonic() - began < WITHIN_S
    return found


def refusal(found: Answer, status: int, param: str) -> str:
    """What is said of it; the status and the field that is named were checked."""
    error = found.json()["error"]
    assert (found.status, error.get("param")) == (status, param), found.body[:500]
    message: str = error["message"]
    return message


@pytest.fixture(scope="module", autouse=True)
def beside(bee_worker: Started) -> Iterator[None]:
    with streams_beside(f"{bee_worker.url}/v1/infer"):
        yield
    assert infer(bee_worker.url, "Hello")["choices"][0]["text"] == known.GREETING
    until(lambda: status(bee_worker.url)["busy"] == 0)
    assert bee_worker.child.poll() is None


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
        ({"prompt": "a", "regex": "a", "json_schema": {}}, 422, "regex"),
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


def test_a_thousand_choices_are_too_many_and_a_hundred_and_twenty_eight_are_not(
    bee_worker: Started,
) -> None:
    refusal(post(bee_worker, request("Hello", n=1_000)), 422, "n")
    found = infer(bee_worker.url, "Hello", n=128)
    assert [c["text"] for c in found["choices"]] == [known.GREETING] * 128
    assert [c["index"] for c in found["choices"]] == list(range(128))


@pytest.mark.parametrize(
    ("fields", "path", "param"),
    [
        ({"prompt": [5, 1_792]}, "/v1/infer", "prompt"),
        ({"prompt": [2**31 - 1]}, "/v1/infer", "prompt"),
        ({"prompt": "a", "logit_bias": {"1792": 1}}, "/v1/infer", "logit_bias"),
        ({"tokens": [5, 1_792]}, "/detokenize", "tokens"),
        ({"input": [[5, 1_792]]}, "/v1/embed", "input[0]"),
    ],
)
def test_token_ids_outside_the_vocabulary(
    bee_worker: Started, fields: dict[str, Any], path: str, param: str
) -> None:
    whole = request(**fields) if path == "/v1/infer" else {"model": "bee", **fields}
    message = refusal(post(bee_worker, whole, path), 422, param)
    assert "outside the vocabulary of 1792" in message


def test_a_prompt_at_the_edge_of_the_context(bee_worker: Started) -> None:
    """The answer needs room for one token, unless it is none."""
    found = infer(bee_worker.url, prompt=[5] * (CONTEXT - 1))
    assert found["usage"]["completion_tokens"] == 1
    for length in (CONTEXT, CONTEXT + 1):
        message = refusal(post(bee_worker, request(prompt=[5] * length)), 400, "prompt")
        assert str(length) in message and str(CONTEXT) in message
    scored = infer(bee_worker.url, prompt=[5] * CONTEXT, max_tokens=0, echo=True, logprobs=0)
    assert len(scored["prompt"]["logprobs"]) == CONTEXT


def test_a_megabyte_of_marks_is_too_long_and_is_said_soon(bee_worker: Started) -> None:
    found = post(bee_worker, request("<|im_end|>" * 100_000))
    assert "100008 tokens" in refusal(found, 400, "messages")


def test_a_body_of_eight_mebibytes_is_read_and_one_byte_more_is_not(bee_worker: Started) -> None:
    limit = 8 * 2**20
    body = json.dumps(request("a", colour="")).encode()
    for size, expected in ((limit, 422), (limit + 1, 413)):
        assert post(bee_worker, body + b" " * (size - len(body))).status == expected


def test_a_picture_of_twenty_thousand_pixels_a_side_for_a_model_that_reads(
    bee_worker: Started,
) -> None:
    parts = [{"type": "text", "text": "What is this?"}, part(url(png_of(20_000, 20_000)))]
    for path in ("/v1/infer", "/tokenize"):
        body = {"model": "bee", "messages": [{"role": "user", "content": parts}]}
        found = post(
            bee_worker, body | ({"operation": "infer"} if path == "/v1/infer" else {}), path
        )
        assert "cannot see images" in refusal(found, 400, "messages[0].content[1]")


@pytest.mark.parametrize(
    "around", [{"properties": {"a": None}}, {"items": None}, {"anyOf": [None]}]
)
def test_a_schema_of_a_thousand_levels_is_a_400(
    bee_worker: Started, around: dict[str, Any]
) -> None:
    opening, closing = json.dumps(around).split("null")
    schema = opening * 1_000 + "{}" + closing * 1_000
    body = json.dumps(request("a", json_schema="SCHEMA")).replace('"SCHEMA"', schema)
    message = refusal(post(bee_worker, body.encode()), 400, "json_schema")
    assert "nested too deeply" in message


CATASTROPHES = ["(a+)+$", "(a|a)*b", "(a*)*(a*)*(a*)*c", "(.*)*(.*)*x", "((a{1,99}){1,99}){1,99}"]


@pytest.mark.parametrize("regex", [*CATASTROPHES, "(((((a{99}){99}){99}){99}){99}){99}"])
def test_a_catastrophic_regex_is_an_answer_or_a_400(bee_worker: Started, regex: str) -> None:
    schema = {"type": "string", "pattern": regex}
    for field, given in (("regex", regex), ("json_schema", schema)):
        asked = {"temperature": 1, "seed": 1, "max_tokens": 40, field: given}
        found = post(bee_worker, request("a" * 40, stream=False, **asked))
        if found.status != 200:
            refusal(found, 400, field)


def test_a_grammar_without_end_ends_with_the_tokens_or_says_nothing(bee_worker: Started) -> None:
    endless = infer(bee_worker.url, "a", grammar='root ::= "ab"{400}', max_tokens=20)
    assert endless["choices"][0]["finish_reason"] == "length"
    assert endless["choices"][0]["text"].startswith("abab")
    for never in (
        'root ::= "ab" root',
        "root ::= root",
        'root ::= other\nother ::= root "a" | other',
    ):
        refusal(post(bee_worker, request("a", grammar=never)), 400, "grammar")


def test_no_tokens_at_all_only_with_the_prompt(bee_worker: Started) -> None:
    message = refusal(post(bee_worker, request("a", max_tokens=0)), 422, "max_tokens")
    assert "no answer" in message
    assert (
        infer(bee_worker.url, prompt="Hello", max_tokens=0, echo=True)["prompt"]["text"] == "Hello"
    )
