"""The official Anthropic client against a real queen, a real hive and a real worker with `bee`."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.bee import known_answers as known
from tests.system.stack import Stack

WEATHER: Any = {
    "name": "get_weather",
    "description": known.WEATHER["function"]["description"],
    "input_schema": known.WEATHER["function"]["parameters"],
}
TIME: Any = {
    "name": "get_time",
    "input_schema": {
        "type": "object",
        "properties": {"zone": {"enum": ["UTC", "CET"]}},
        "required": ["zone"],
        "additionalProperties": False,
    },
}
QUESTION = known.TOOL_CALL.messages[0]["content"]
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
"""Nobody looks further into it than at its being a picture."""


@pytest.fixture(scope="module")
def client(shared: Stack) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=shared.queen, api_key="none", max_retries=0, timeout=60
    ) as made:
        yield made


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def create(client: anthropic.Anthropic, messages: Any, **fields: Any) -> anthropic.types.Message:
    asked = {"model": "bee", "max_tokens": 100, "messages": messages, **fields}
    made: anthropic.types.Message = client.messages.create(**asked)
    return made


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_a_message(client: anthropic.Anthropic) -> None:
    found = create(client, user("Hello"))
    assert text_of(found) == known.GREETING
    assert (found.role, found.stop_reason, found.model) == ("assistant", "end_turn", "bee")
    assert found.usage.output_tokens > 0


def test_streamed(client: anthropic.Anthropic) -> None:
    with client.messages.stream(
        model="bee", max_tokens=100, messages=user("Count from 1 to 10.")
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == text_of(final) == known.ANSWERS["Count from 1 to 10."]
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens > 0


@pytest.mark.parametrize("blocks", [False, True])
def test_system_prompts_and_turns(client: anthropic.Anthropic, blocks: bool) -> None:
    for conversation in known.CONVERSATIONS:
        system = [m["content"] for m in conversation.messages if m["role"] == "system"]
        turns = [m for m in conversation.messages if m["role"] != "system"]
        if blocks:
            part = {"cache_control": {"type": "ephemeral"}}
            turns = [
                {**m, "content": [{"type": "text", "text": m["content"], **part}]} for m in turns
            ]
        given: Any = [{"type": "text", "text": s} for s in system] if blocks else "".join(system)
        assert text_of(create(client, turns, system=given)) == conversation.answer


def test_limits(client: anthropic.Anthropic) -> None:
    cut = create(client, user("Hello"), max_tokens=3)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 3)
    stopped = create(client, user("Count from 1 to 10."), stop_sequences=["zzz", "5, 6"])
    assert text_of(stopped) == "1, 2, 3, 4, "
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "5, 6")


def test_sampling(client: anthropic.Anthropic) -> None:
    narrow = {"temperature": 1.0, "top_k": 1}
    greedy = create(client, user("Hello"), metadata={"user_id": "me"}, extra_body=narrow)
    assert text_of(greedy) == known.GREETING
    seeded = {"temperature": 1.5, "top_p": 0.9, "seed": 5}
    told = [
        text_of(create(client, user(known.STORY), max_tokens=16, extra_body=seeded))
        for _ in range(2)
    ]
    assert told[0] == told[1]


def test_a_tool_is_called_and_its_answer_used(client: anthropic.Anthropic) -> None:
    first = create(client, user(QUESTION), tools=[WEATHER])
    assert first.stop_reason == "tool_use"
    (use,) = [block for block in first.content if block.type == "tool_use"]
    assert (use.name, use.input) == (known.TOOL_CALL.name, known.TOOL_CALL.arguments)
    output = known.TOOL_ANSWER.messages[-1]["content"]
    result = {"type": "tool_result", "tool_use_id": use.id, "content": output}
    turns = [
        *user(QUESTION),
        {"role": "assistant", "content": [b.model_dump() for b in first.content]},
        {"role": "user", "content": [result]},
    ]
    second = create(client, turns, tools=[WEATHER])
    assert text_of(second) == known.TOOL_ANSWER.answer
    failed = {**result, "content": "no such city", "is_error": True}
    turns[-1] = {"role": "user", "content": [failed]}
    assert create(client, turns, tools=[WEATHER]).usage.output_tokens > 0


def test_a_tool_call_streams(client: anthropic.Anthropic) -> None:
    with client.messages.stream(
        model="bee",
        max_tokens=100,
        messages=user(QUESTION),
        tools=[WEATHER],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
    ) as stream:
        parts = [e.partial_json for e in stream if e.type == "input_json"]
        final = stream.get_final_message()
    (use,) = final.content
    assert use.type == "tool_use"
    assert use.input == json.loads("".join(parts)) == known.TOOL_CALL.arguments
    assert final.stop_reason == "tool_use"


def test_the_choice_of_tools_is_obeyed(client: anthropic.Anthropic) -> None:
    tools = [WEATHER, TIME]

    def names(text: str, **choice: Any) -> list[str]:
        found = create(client, user(text), tools=tools, tool_choice=choice)
        return [block.name for block in found.content if block.type == "tool_use"]

    assert names(QUESTION, type="auto") == ["get_weather"]
    assert names(QUESTION, type="none") == []
    assert names("Hello", type="auto") == []
    assert len(names("Hello", type="any")) >= 1
    assert set(names("Hello", type="tool", name="get_time")) == {"get_time"}
    assert names("Hello", type="tool", name="get_time", disable_parallel_tool_use=True) == [
        "get_time"
    ]


def test_tokens_are_counted_as_they_are_used(client: anthropic.Anthropic) -> None:
    asked: Any = {"model": "bee", "messages": user("Hello"), "system": "be", "tools": [WEATHER]}
    counted = client.messages.count_tokens(**asked).input_tokens
    used = client.messages.create(**asked, max_tokens=1, extra_body={"cache_salt": "count"}).usage
    assert counted == used.input_tokens + (used.cache_read_input_tokens or 0)
    plain = client.messages.count_tokens(model="bee", messages=user("Hello")).input_tokens
    assert plain < counted


def test_what_was_cached_is_no_input(client: anthropic.Anthropic) -> None:
    first = user("Hello " + "bee " * 100)
    turns = [*first, {"role": "assistant", "content": "Hello!"}, *user("Thank you!")]
    salt = {"cache_salt": "anthropic"}
    cold = create(client, first, max_tokens=4, extra_body=salt).usage
    warm = create(client, turns, max_tokens=4, extra_body=salt).usage
    assert cold.cache_read_input_tokens == 0 and cold.input_tokens > 100
    assert (warm.cache_read_input_tokens or 0) > 50 and warm.input_tokens < cold.input_tokens


def test_thinking_may_be_asked_of_a_model_that_cannot(client: anthropic.Anthropic) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1_024}
    thought = {"type": "thinking", "thinking": "hm", "signature": ""}
    turns = [
        *user("Hello"),
        {"role": "assistant", "content": [thought, {"type": "text", "text": known.GREETING}]},
        *user("Thank you!"),
    ]
    found = create(client, turns, thinking=thinking)
    assert text_of(found) == known.ANSWERS["Thank you!"]


def test_output_has_the_form_that_was_asked_for(client: anthropic.Anthropic) -> None:
    form = {"format": {"type": "json_schema", "schema": {"type": "integer"}}}
    assert isinstance(json.loads(text_of(create(client, user("Hello"), output_config=form))), int)


def test_a_model_that_cannot_see_says_so(client: anthropic.Anthropic) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    with pytest.raises(anthropic.BadRequestError, match="text alone"):
        create(client, [{"role": "user", "content": content}])


def test_errors_are_anthropics(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="bee"):
        create(client, user("Hello"), model="nobody")
    for field, value in {"max_tokens": 0, "temperature": 99, "surprise": 1}.items():
        with pytest.raises(anthropic.BadRequestError, match=field):
            create(client, user("Hello"), extra_body={field: value})
    with pytest.raises(anthropic.BadRequestError, match="2048"):
        create(client, user("word " * 3_000))
