"""Every family of parameters, through the official OpenAI client and a real worker with `bee`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.bee import known_answers as known
from tests.http import ask
from tests.system.stack import Stack

FACT = "The capital of France is"
"""As a plain completion, Bee repeats itself after it until the limit."""


@pytest.fixture(scope="module")
def client(shared: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{shared.queen}/v1", api_key="none", max_retries=0, timeout=60
    ) as made:
        yield made


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def said(client: openai.OpenAI, text: str, **fields: Any) -> str:
    answer = client.chat.completions.create(model="bee", messages=user(text), **fields)
    return answer.choices[0].message.content or ""


def completed(client: openai.OpenAI, **fields: Any) -> str:
    answer = client.completions.create(model="bee", prompt=FACT, max_tokens=48, **fields)
    return str(answer.choices[0].text)


def ids(stack: Stack, text: str) -> list[int]:
    found: list[int] = ask("POST", f"{stack.queen}/tokenize", {"text": text}).json()["tokens"]
    return found


@pytest.mark.parametrize(
    "beyond",
    [
        {"typical_p": 0.9},
        {"repeat_penalty": 1.1, "repeat_last_n": -1},
        {"dry_multiplier": 0.8, "dry_base": 1.75, "dry_allowed_length": 2},
        {"dry_multiplier": 0.8, "dry_penalty_last_n": 64, "dry_sequence_breakers": ["\n", ":"]},
        {"xtc_probability": 0.5, "xtc_threshold": 0.1},
        {"deterministic": True},
        {"cache_salt": "mine"},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"reasoning_effort": "low"},
        {"device": "cpu", "priority": 3, "deadline_ms": 60_000},
        {"prompt_cache_key": "x", "store": False, "user": "me"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_is_accepted(client: openai.OpenAI, beyond: dict[str, Any]) -> None:
    assert said(client, "Hello", temperature=0.7, seed=1, max_tokens=8, extra_body=beyond)


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"min_p": 1.0}, {"top_p": 0.0}], ids=str)
def test_only_the_likeliest_token_is_left(client: openai.OpenAI, narrow: dict[str, Any]) -> None:
    fields = {"temperature": 2.0, "extra_body": narrow}
    assert said(client, "Hello", **fields) == known.GREETING


@pytest.mark.parametrize(
    "penalty",
    [
        {"frequency_penalty": 2.0},
        {"presence_penalty": 2.0},
        {"repeat_penalty": 3.0},
        {"dry_multiplier": 5.0},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_penalties_end_repetition(client: openai.OpenAI, penalty: dict[str, Any]) -> None:
    assert completed(client, extra_body=penalty) != completed(client)


def test_the_same_seed_tells_the_same(client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {"temperature": 1.5, "max_tokens": 24}
    told = [said(client, known.STORY, seed=seed, **fields) for seed in (1, 1, 2, 3, 4)]
    assert told[0] == told[1]
    assert len(set(told)) > 1
    alone = {**fields, "seed": 1, "extra_body": {"deterministic": True}}
    assert said(client, known.STORY, **alone) == said(client, known.STORY, **alone)


def test_stop_strings_may_straddle_tokens(client: openai.OpenAI) -> None:
    text = known.ANSWERS["Count from 1 to 10."]
    for stop in ["4, 5", [", 7", "8, 9"], ["nowhere", *(f"no{i}" for i in range(15))]]:
        given = [stop] if isinstance(stop, str) else stop
        ends = [text.find(s) for s in given if s in text]
        assert said(client, "Count from 1 to 10.", stop=stop) == text[: min(ends, default=None)]
    with pytest.raises(openai.BadRequestError) as many:
        said(client, "Hello", stop=["x"] * 17)
    assert many.value.param == "stop"


def test_a_bias_forces_and_forbids_a_token(client: openai.OpenAI, shared: Stack) -> None:
    wanted = ids(shared, "Paris")[0]
    text = ask("POST", f"{shared.queen}/detokenize", {"tokens": [wanted]}).json()["text"]
    assert said(client, "Hello", logit_bias={str(wanted): 100}, max_tokens=1) == text
    first = ids(shared, known.GREETING)[0]
    assert not said(client, "Hello", logit_bias={str(first): -100}).startswith("Hello")
    with pytest.raises(openai.BadRequestError, match="vocabulary"):
        said(client, "Hello", logit_bias={"999999": 1})


def test_logprobs_are_probabilities(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="bee", messages=user("Hello"), logprobs=True, top_logprobs=20
    )
    scored = answer.choices[0].logprobs
    assert scored is not None and scored.content is not None
    for one in scored.content:
        top = [t.logprob for t in one.top_logprobs]
        assert top == sorted(top, reverse=True)
        assert sum(math.exp(p) for p in top) <= 1.001
        assert one.logprob == pytest.approx(top[0], abs=1e-4)
        assert one.bytes is not None and bytes(one.bytes).decode() == one.token
    alone = client.chat.completions.create(model="bee", messages=user("Hello"), logprobs=True)
    assert alone.choices[0].logprobs is not None
    assert all(t.top_logprobs == [] for t in alone.choices[0].logprobs.content or ())


def test_several_choices(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="bee", messages=user(known.STORY), n=4, temperature=1.5, seed=3, max_tokens=16
    )
    assert [c.index for c in answer.choices] == [0, 1, 2, 3]
    assert len({c.message.content for c in answer.choices}) > 1
    with pytest.raises(openai.BadRequestError) as many:
        said(client, "Hello", n=1_000)
    assert many.value.param == "n"


def test_an_answer_may_go_on_past_its_end(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="bee", messages=user("Hello"), max_tokens=60, extra_body={"ignore_eos": True}
    )
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None and answer.usage.completion_tokens == 60


def test_output_has_the_form_that_was_asked_for(client: openai.OpenAI) -> None:
    found = json.loads(said(client, "Hello", response_format={"type": "json_object"}))
    assert isinstance(found, dict)
    grammar = {"grammar": 'root ::= "yes" | "no"'}
    assert said(client, "Hello", extra_body=grammar) in ("yes", "no")
    pattern = {"regex": "[0-9]{3}-[a-c]{2}"}
    assert re.fullmatch(pattern["regex"], said(client, "Hello", extra_body=pattern))
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3}
    spec = {"name": "three", "schema": schema, "strict": True}
    form: Any = {"type": "json_schema", "json_schema": spec}
    assert len(json.loads(said(client, "Hello", response_format=form))) == 3
    cut = client.chat.completions.create(
        model="bee", messages=user("Hello"), response_format=form, max_tokens=2
    )
    assert cut.choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"grammar": "root ::= ("}, "grammar"),
        ({"regex": "("}, "regex"),
        ({"json_schema": {"type": "no such type"}}, "json_schema"),
        ({"regex": "a", "grammar": 'root ::= "a"'}, "regex"),
        ({"lora": "nobody"}, "lora"),
        ({"worker_id": "nobody"}, None),
        ({"surprise": 1}, "surprise"),
        ({"dry_base": 0.5}, "dry_base"),
    ],
    ids=lambda fields: next(iter(fields)) if isinstance(fields, dict) else None,
)
def test_what_cannot_be_is_named(
    client: openai.OpenAI, bad: dict[str, Any], field: str | None
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        completed(client, extra_body=bad)
    assert 400 <= caught.value.status_code < 500
    if field is not None:
        assert isinstance(caught.value, openai.BadRequestError)
        assert str(caught.value.param).startswith(field)


def test_a_model_that_cannot_see_says_so(client: openai.OpenAI) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    asked: Any = [{"role": "user", "content": [{"type": "text", "text": "What?"}, image]}]
    with pytest.raises(openai.BadRequestError, match="text alone"):
        client.chat.completions.create(model="bee", messages=asked)


def test_the_second_turn_is_partly_computed_already(client: openai.OpenAI) -> None:
    def cached(messages: Any, salt: str) -> int:
        answer = client.chat.completions.create(
            model="bee", messages=messages, max_tokens=8, extra_body={"cache_salt": salt}
        )
        assert answer.usage is not None and answer.usage.prompt_tokens_details is not None
        return answer.usage.prompt_tokens_details.cached_tokens or 0

    first = user("Hello " + "bee " * 100)
    again = [*first, {"role": "assistant", "content": "Hello!"}, *user("Thank you!")]
    assert cached(first, "salt-1") == 0
    assert cached(again, "salt-1") > 50
    assert cached(again, "salt-2") == 0, "another salt shares nothing"
