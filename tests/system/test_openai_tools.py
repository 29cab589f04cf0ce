"""Tools and the newer responses API, through the official client and a real worker with `bee`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import openai
import pytest

from tests.bee import known_answers as known
from tests.system.stack import Stack

TIME = {
    "type": "function",
    "function": {
        "name": "get_time",
        "parameters": {
            "type": "object",
            "properties": {"zone": {"enum": ["UTC", "CET"]}},
            "required": ["zone"],
            "additionalProperties": False,
        },
    },
}
TOOLS = cast(Any, [known.WEATHER, TIME])
NEWER_TOOLS = cast(Any, [{"type": "function", **tool["function"]} for tool in TOOLS])
WEATHER = known.TOOL_CALL.messages[0]["content"]


@pytest.fixture(scope="module")
def client(shared: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{shared.queen}/v1", api_key="none", max_retries=0, timeout=60
    ) as made:
        yield made


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def calls(client: openai.OpenAI, text: str, **fields: Any) -> list[tuple[str, Any]]:
    answer = client.chat.completions.create(model="bee", messages=user(text), tools=TOOLS, **fields)
    found = answer.choices[0].message.tool_calls or []
    assert (answer.choices[0].finish_reason == "tool_calls") == bool(found)
    functions = [call.function for call in found if call.type == "function"]
    return [(f.name, json.loads(f.arguments)) for f in functions]


def test_the_choice_of_tools_is_obeyed(client: openai.OpenAI) -> None:
    assert calls(client, WEATHER) == [("get_weather", {"city": "Lisbon"})]
    assert calls(client, WEATHER, tool_choice="none") == []
    assert calls(client, "Hello", tool_choice="auto") == []
    assert len(calls(client, "Hello", tool_choice="required")) >= 1
    named = {"type": "function", "function": {"name": "get_time"}}
    for name, arguments in calls(client, "Hello", tool_choice=named):
        assert (name, arguments["zone"]) in (("get_time", "UTC"), ("get_time", "CET"))


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_one_call_and_no_more(client: openai.OpenAI, choice: str) -> None:
    found = calls(client, WEATHER, tool_choice=choice, parallel_tool_calls=False)
    assert found == [("get_weather", {"city": "Lisbon"})]


def test_a_forced_call_streams(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="bee", messages=user("Hello"), tools=TOOLS, tool_choice="required"
    ) as stream:
        final = stream.get_final_completion()
    (call, *_) = final.choices[0].message.tool_calls or []
    assert call.function.name in ("get_weather", "get_time")
    assert isinstance(json.loads(call.function.arguments), dict)


@pytest.mark.parametrize(
    "bad",
    [
        {"tool_choice": {"type": "function", "function": {"name": "nobody"}}},
        {"tools": [{"type": "custom", "custom": {"name": "x"}}]},
        {"functions": [{"name": "x"}]},
        {"function_call": "auto"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_cannot_be_is_named(client: openai.OpenAI, bad: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="bee", messages=user("Hello"), extra_body={"tools": TOOLS, **bad}
        )
    assert str(caught.value.param).startswith(next(iter(bad)))


def test_responses_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = client.responses.create(model="bee", input="Hello", temperature=0)
    assert (whole.output_text, whole.status) == (known.GREETING, "completed")
    assert whole.usage is not None and whole.usage.output_tokens_details.reasoning_tokens == 0
    with client.responses.stream(model="bee", input="Hello") as stream:
        text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == text == known.GREETING
    cut = client.responses.create(model="bee", input="Hello", max_output_tokens=2)
    assert cut.status == "incomplete"
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"
    pirate = known.CONVERSATIONS[0]
    told = client.responses.create(
        model="bee",
        instructions=pirate.messages[0]["content"],
        input=[{"role": "user", "content": pirate.messages[1]["content"]}],
    )
    assert told.output_text == pirate.answer


def test_responses_go_on_from_what_was_said(client: openai.OpenAI) -> None:
    asked: list[Any] = [{"role": "user", "content": WEATHER}]
    first = client.responses.create(model="bee", input=asked, tools=NEWER_TOOLS[:1])
    (call,) = first.output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == known.TOOL_CALL.arguments
    output = known.TOOL_ANSWER.messages[-1]["content"]
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": output}
    for replayed in (call, call.model_dump()):
        second = client.responses.create(
            model="bee", input=[*asked, cast(Any, replayed), result], tools=NEWER_TOOLS[:1]
        )
        assert second.output_text == known.TOOL_ANSWER.answer


def test_responses_force_calls_and_forms(client: openai.OpenAI) -> None:
    made = client.responses.create(
        model="bee",
        input="Hello",
        tools=NEWER_TOOLS,
        tool_choice={"type": "function", "name": "get_time"},
        parallel_tool_calls=False,
    )
    (call,) = made.output
    assert call.type == "function_call" and call.name == "get_time"
    assert (made.parallel_tool_calls, len(made.tools)) == (False, 2)
    with client.responses.stream(
        model="bee", input="Hello", tools=NEWER_TOOLS, tool_choice="required"
    ) as stream:
        assert stream.get_final_response().output[0].type == "function_call"
    form: Any = {"format": {"type": "json_schema", "name": "n", "schema": {"type": "integer"}}}
    assert isinstance(
        json.loads(client.responses.create(model="bee", input="Hello", text=form).output_text), int
    )


def test_responses_tell_logprobs_and_what_was_cached(client: openai.OpenAI) -> None:
    text = "Hello " + "bee " * 100
    salt = {"cache_salt": "responses"}
    for turn in range(2):
        found = client.responses.create(
            model="bee",
            input=text,
            max_output_tokens=4,
            top_logprobs=2,
            include=["message.output_text.logprobs"],
            extra_body=salt,
        )
        assert found.usage is not None
        assert (found.usage.input_tokens_details.cached_tokens > 50) == bool(turn)
        (item,) = found.output
        assert item.type == "message" and item.content[0].type == "output_text"
        scored = item.content[0].logprobs or []
        assert len(scored) == 4 and all(len(one.top_logprobs) == 2 for one in scored)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("previous_response_id", "resp_1"),
        ("conversation", "conv_1"),
        ("background", True),
        ("truncation", "auto"),
        ("max_output_tokens", 0),
        ("tools", [{"type": "web_search"}]),
    ],
)
def test_responses_refuse_by_name(client: openai.OpenAI, field: str, value: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="bee", input="x", extra_body={field: value})
    assert str(caught.value.param).startswith(field)
