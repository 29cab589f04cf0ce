"""A real worker on the embedded model: the answers it is known to give, in every form."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rbee import bee
from tests.bee import known_answers as known
from tests.http import ask, listening
from tests.processes import Started
from tests.worker.bees import infer, request, status, until


@pytest.mark.parametrize("prompt", known.ANSWERS)
def test_a_known_answer(bee_worker: Started, prompt: str) -> None:
    found = infer(bee_worker.url, prompt)
    [choice] = found["choices"]
    assert choice["text"] == known.ANSWERS[prompt]
    assert choice["finish_reason"] == "stop"
    assert (found["model"], found["sha256"]) == ("bee", bee.SHA256)
    assert found["usage"]["completion_tokens"] == len(choice["token_ids"])


@pytest.mark.parametrize("number", range(len(known.CONVERSATIONS)))
def test_a_known_conversation(bee_worker: Started, number: int) -> None:
    chat = known.CONVERSATIONS[number]
    found = infer(bee_worker.url, messages=chat.messages)
    assert found["choices"][0]["text"] == chat.answer


def test_many_at_once_answer_as_each_alone(bee_worker: Started) -> None:
    """More than there are slots, so that some wait and rows of a batch come and go."""
    prompts = list(known.ANSWERS)
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda p: infer(bee_worker.url, p), prompts))
    texts = [f["choices"][0]["text"] for f in found]
    assert texts == [known.ANSWERS[p] for p in prompts]


def test_a_stream_says_what_the_whole_answer_says(bee_worker: Started) -> None:
    prompt = "Count from 1 to 10."
    fields = {"logprobs": 2, "n": 2, "max_tokens": 12}
    whole = infer(bee_worker.url, prompt, **fields)
    body = {
        "operation": "infer",
        "model": "bee",
        "messages": [{"role": "user", "content": prompt}],
        **fields,
    }
    with listening("POST", f"{bee_worker.url}/v1/infer", body) as (headers, events):
        assert headers["x-rbee-job-id"].startswith("job-")
        numbers, found = zip(*events, strict=True)
    assert numbers == tuple(range(len(found)))
    *tokens, done = found
    for choice in whole["choices"]:
        mine = [e for e in tokens if e.get("choice", 0) == choice["index"]]
        assert "".join(e["text"] for e in mine) == choice["text"]
        assert [t for e in mine for t in e["token_ids"]] == choice["token_ids"]
        logprobs = [p["token_id"] for e in mine for p in e["logprobs"]]
        assert logprobs == choice["token_ids"] == [p["token_id"] for p in choice["logprobs"]]
    cached = done["usage"]["prompt_tokens"] - 1  # all but the token whose logits are wanted
    assert done["type"] == "done"
    assert done["usage"] == {**whole["usage"], "cached_tokens": cached}
    assert done["finish_reasons"] == ["length", "length"]


def test_a_story_comes_to_an_end(bee_worker: Started) -> None:
    found = infer(bee_worker.url, known.STORY)
    assert known.is_story(found["choices"][0]["text"])
    assert found["timings"]["tokens_per_s"] > 0


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "size": {"enum": [1, 2, 3]}},
    "required": ["city", "size"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_output_fits_a_schema(bee_worker: Started, temperature: float) -> None:
    found = infer(bee_worker.url, "Hello", json_schema=SCHEMA, temperature=temperature, seed=5, n=3)
    for choice in found["choices"]:
        value = json.loads(choice["text"])
        assert set(value) == {"city", "size"} and value["size"] in (1, 2, 3)
        assert isinstance(value["city"], str) and choice["finish_reason"] == "stop"


def test_output_follows_a_grammar(bee_worker: Started) -> None:
    found = infer(bee_worker.url, "Hello", grammar='root ::= ("x" | "y") "!"{2,3}')
    assert found["choices"][0]["text"] in {"x!!", "x!!!", "y!!", "y!!!"}


def test_a_tool_is_called_when_it_fits(bee_worker: Started) -> None:
    call = known.TOOL_CALL
    found = infer(bee_worker.url, messages=call.messages, tools=call.tools)
    check_call(found["choices"][0], call.name, call.arguments)


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_weather"}}]
)
def test_a_forced_tool_is_called_whatever_was_said(bee_worker: Started, choice: Any) -> None:
    tools = [known.WEATHER, {"type": "function", "function": {"name": "other"}}]
    found = infer(bee_worker.url, "Hello", tools=tools, tool_choice=choice, temperature=0)
    [call] = found["choices"][0]["tool_calls"]
    assert (
        found["choices"][0]["text"] == "" and found["choices"][0]["finish_reason"] == "tool_calls"
    )
    assert call["function"]["name"] in ("get_weather", "other")
    if choice != "required":
        assert call["function"]["name"] == "get_weather"
        assert isinstance(json.loads(call["function"]["arguments"])["city"], str)


def check_call(choice: Any, name: str, arguments: dict[str, object]) -> None:
    [call] = choice["tool_calls"]
    assert choice["text"] == "" and choice["finish_reason"] == "tool_calls"
    assert call["type"] == "function" and call["id"]
    assert call["function"]["name"] == name
    assert json.loads(call["function"]["arguments"]) == arguments


def test_the_tools_answer_is_used(bee_worker: Started) -> None:
    chat = known.TOOL_ANSWER
    found = infer(bee_worker.url, messages=chat.messages, tools=known.TOOL_CALL.tools)
    assert found["choices"][0]["text"] == chat.answer


def test_sampling_repeats_with_its_seed(bee_worker: Started) -> None:
    def told(seed: int) -> list[str]:
        fields = {"temperature": 1.5, "seed": seed, "max_tokens": 24, "n": 2}
        return [c["text"] for c in infer(bee_worker.url, known.STORY, **fields)["choices"]]

    first = told(1)
    assert first == told(1) and first[0] != first[1] and first != told(2)


def test_a_prompt_can_be_text_or_ids(bee_worker: Started) -> None:
    rendered = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    ids = tokens_of(bee_worker, text=rendered)
    by_chat = tokens_of(bee_worker, messages=[{"role": "user", "content": "Hello"}])
    assert ids == by_chat
    for prompt in (rendered, ids):
        answer = infer(bee_worker.url, prompt=prompt)
        assert answer["choices"][0]["text"] == known.GREETING


def tokens_of(worker: Started, **fields: Any) -> Any:
    found = ask("POST", f"{worker.url}/tokenize", {"model": "bee", **fields}).json()
    assert found["count"] == len(found["tokens"])
    return found["tokens"]


@pytest.mark.parametrize(
    "text", ["Hello, world!", "naïve 🐝 café\n\n\ttab", "日本語 \x00 nul", "", " "]
)
def test_tokens_go_back_to_their_text(bee_worker: Started, text: str) -> None:
    body = {"model": "bee", "tokens": tokens_of(bee_worker, text=text)}
    assert ask("POST", f"{bee_worker.url}/detokenize", body).json()["text"] == text


def vectors(worker: Started, *inputs: Any, **fields: Any) -> Any:
    body = {"model": "bee", "input": list(inputs), **fields}
    return ask("POST", f"{worker.url}/v1/embed", body).json()


def test_vectors_are_normalised_and_always_the_same(bee_worker: Started) -> None:
    first = vectors(bee_worker, "a bee", "a hive", "a bee")
    again = vectors(bee_worker, "a bee", "a hive", "a bee")
    assert first == again and first["vectors"][0] == first["vectors"][2]
    assert first["vectors"][0] != first["vectors"][1]
    for row in first["vectors"]:
        assert len(row) == 256 and abs(sum(x * x for x in row) - 1) < 1e-4
    raw = vectors(bee_worker, "a bee", normalise=False)["vectors"][0]
    assert abs(sum(x * x for x in raw) - 1) > 1e-3


def test_vectors_do_not_disturb_a_stream(bee_worker: Started) -> None:
    with ThreadPoolExecutor(2) as pool:
        answer = pool.submit(infer, bee_worker.url, "List the months of the year.")
        found = vectors(bee_worker, *["some words to embed"] * 40)
    assert len(found["vectors"]) == 40
    assert answer.result()["choices"][0]["text"] == known.ANSWERS["List the months of the year."]


def test_afterwards_every_slot_is_free(bee_worker: Started) -> None:
    until(lambda: status(bee_worker.url)["busy"] == 0)
    now = status(bee_worker.url)
    assert (now["slots"], now["waiting"], now["jobs"], now["state"]) == (4, 0, [], "ready")
    assert (now["model"], now["context"], now["step_age_s"]) == ("bee", 2048, 0)


def test_a_grammar_may_spell_what_is_a_special_token_elsewhere(bee_worker: Started) -> None:
    """Plain text stays plain text: the model writes the letters."""
    body = request("Hi", grammar='root ::= "<tool_call>x"', stream=False)
    found = ask("POST", f"{bee_worker.url}/v1/infer", body)
    assert found.json()["choices"][0]["text"] == "<tool_call>x"
