"""Anthropic's dialect: its requests as rbee's, and over HTTP against a real queen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from rbee.contracts.answers import Choice, InferAnswer
from rbee.contracts.chat import FunctionCall, ToolCall
from rbee.contracts.events import AnyEvent, Done, Timings, Token, Usage
from rbee.contracts.operations import Infer
from rbee.errors import Invalid
from rbee.queen.openai import messages, messages_answers
from rbee.queen.openai.messages_requests import CountRequest, MessagesRequest
from rbee.queen.openai.messages_stream import MessageEvents
from rbee.wire.codec import decode
from rbee.wire.sse import FrameReader
from tests.http import ask

TURN = {"role": "user", "content": [{"type": "text", "text": "a b"}]}
ASKED: dict[str, Any] = {"model": "bee", "max_tokens": 50, "system": "be", "messages": [TURN]}
CALL = ToolCall("call-1", FunctionCall("f", '{"a":1}'))
BAD_CALL = ToolCall("call-2", FunctionCall("f", "no json"))


def infer(*turns: Any, **more: Any) -> Infer:
    body = {"model": "bee", "max_tokens": 5, "messages": list(turns), **more}
    return messages.infer_of(decode(json.dumps(body).encode(), MessagesRequest))


def spoken(*turns: Any, **more: Any) -> list[Any]:
    found: list[Any] = msgspec.to_builtins(infer(*turns, **more).messages)
    return found


def events(told: Sequence[AnyEvent]) -> list[Any]:
    made = MessageEvents("job-1", "bee")
    raw = b"".join(made(0, [event]) for event in told)
    return [json.loads(data) for data in FrameReader().feed(raw)]


def test_turns_become_messages() -> None:
    use = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    thought = {"type": "thinking", "thinking": "hm", "signature": "x"}
    hidden = {"type": "redacted_thinking", "data": "x"}
    results = [
        {"type": "text", "text": "t"},
        {"type": "tool_result", "tool_use_id": "c", "content": "r"},
        {"type": "tool_result", "tool_use_id": "d", "content": "broke", "is_error": True},
    ]
    system = [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]
    found = spoken(
        {"role": "assistant", "content": [thought, hidden, {"type": "text", "text": "a"}, use]},
        {"role": "user", "content": results},
        system=system,
    )
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert found[0] == {"role": "system", "content": "s"}
    assert found[1]["content"] == "a"
    assert found[1]["reasoning_content"] == "hm"
    assert {**call, "index": None} == found[1]["tool_calls"][0]
    assert found[2] == {"role": "tool", "content": "r", "tool_call_id": "c"}
    assert found[3] == {"role": "tool", "content": "Error: broke", "tool_call_id": "d"}
    assert found[4] == {"role": "user", "content": "t"}
    assert len(found) == 5


def test_images_keep_their_place() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    image = {"type": "image", "source": source}
    found = spoken({"role": "user", "content": [image, {"type": "text", "text": "what?"}]})
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": None}}
    assert found[0]["content"] == [part, {"type": "text", "text": "what?"}]
    result = {"type": "tool_result", "tool_use_id": "c", "content": [image], "is_error": True}
    found = spoken({"role": "user", "content": [result]})
    assert found[0]["content"] == [{"type": "text", "text": "Error: "}, part]


def test_tools_and_thinking() -> None:
    tool = {"name": "f", "input_schema": {"type": "object"}, "strict": True}
    for given, choice in [("auto", "auto"), ("any", "required"), ("none", "none")]:
        assert infer(TURN, tools=[tool], tool_choice={"type": given}).tool_choice == choice
    named = {"type": "tool", "name": "f", "disable_parallel_tool_use": True}
    found = infer(TURN, tools=[tool], tool_choice=named)
    assert msgspec.to_builtins(found.tool_choice)["function"] == {"name": "f"}
    assert not found.parallel_tool_calls
    with pytest.raises(Invalid):
        infer(TURN, tools=[tool], tool_choice={"type": "tool"})
    on = infer(TURN, thinking={"type": "enabled", "budget_tokens": 1_024})
    assert on.chat_template_kwargs == {"enable_thinking": True, "thinking_budget": 1_024}
    off = infer(TURN, thinking={"type": "disabled"}, chat_template_kwargs={"a": 1})
    assert off.chat_template_kwargs == {"enable_thinking": False, "a": 1}
    form = {"format": {"type": "json_schema", "schema": {"type": "array"}}}
    assert infer(TURN, output_config=form).json_schema == {"type": "array"}
    hidden = {"model": "bee", "messages": [TURN], "tools": [tool], "tool_choice": {"type": "none"}}
    count: CountRequest = decode(json.dumps(hidden).encode(), CountRequest)
    assert messages.question_of(count).tools is None


@pytest.mark.parametrize(
    "bad",
    [
        {"max_tokens": 0},
        {"surprise": 1},
        {"thinking": {"type": "enabled"}},
        {"thinking": {"type": "adaptive", "display": "omitted"}},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]},
    ],
)
def test_what_cannot_be_honoured_is_named(bad: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        infer(TURN, **bad)
    assert next(iter(bad)) in caught.value.path


def test_blocks_come_one_after_the_other() -> None:
    found = events(
        [
            Token(index=0, text="", token_ids=[1], reasoning="h"),
            Token(index=1, text="a", token_ids=[2], reasoning="m"),
            Token(index=2, text="", token_ids=[3], tool_calls=[CALL, BAD_CALL]),
            Token(index=3, text="b", token_ids=[4]),
            Done(finish_reason="stop", stops=["END"], usage=Usage(10, 4, 7)),
        ]
    )
    row = [(e["type"].removeprefix("content_block_"), e.get("index")) for e in found]
    one = ["start", "delta", "stop"]
    assert row == [
        ("message_start", None),
        *((part, 0) for part in ("start", "delta", "delta", "stop")),
        *((part, index) for index in (1, 2, 3, 4) for part in one),
        ("message_delta", None),
        ("message_stop", None),
    ]
    starts = [e["content_block"]["type"] for e in found if e["type"] == "content_block_start"]
    assert starts == ["thinking", "text", "tool_use", "tool_use", "text"]
    inputs = [e["delta"]["partial_json"] for e in found if "partial_json" in e.get("delta", {})]
    assert [json.loads(i) for i in inputs] == [{"a": 1}, {"arguments": "no json"}]
    assert found[-2]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    assert found[-2]["usage"]["input_tokens"] == 3
    assert found[-2]["usage"]["cache_read_input_tokens"] == 7


def test_an_empty_answer_has_an_empty_text() -> None:
    found = events([Done(finish_reason="length")])
    assert [e["type"] for e in found][1:3] == ["content_block_start", "content_block_stop"]
    assert found[-2]["delta"]["stop_reason"] == "max_tokens"


def test_a_whole_answer_has_the_same_blocks() -> None:
    choice = Choice(
        index=0,
        text="a",
        finish_reason="tool_calls",
        token_ids=[],
        tool_calls=[CALL],
        reasoning="hm",
    )
    answer = InferAnswer(
        job_id="job-1",
        model="m",
        sha256="",
        worker_id="w",
        choices=[choice],
        usage=Usage(10, 4, 7),
        timings=Timings(),
    )
    found = messages_answers.message(answer, "bee")
    assert found["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "a"},
        {"type": "tool_use", "id": "call-1", "name": "f", "input": {"a": 1}},
    ]
    assert (found["stop_reason"], found["stop_sequence"]) == ("tool_use", None)


def test_whole(a_queen: str) -> None:
    found = ask("POST", f"{a_queen}/v1/messages", ASKED).json()
    assert found["content"] == [{"type": "text", "text": "a b"}]
    assert (found["type"], found["role"], found["stop_reason"]) == (
        "message",
        "assistant",
        "end_turn",
    )
    assert (found["usage"]["input_tokens"], found["usage"]["output_tokens"]) == (2, 2)


def test_streamed(a_queen: str) -> None:
    answer = ask("POST", f"{a_queen}/v1/messages", {**ASKED, "stream": True})
    assert [e["type"] for e in answer.events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert b"event: message_stop" in answer.body
    assert b"[DONE]" not in answer.body


def test_tools(a_queen: str) -> None:
    turn = {"role": "user", "content": "call:weather"}
    tool = {"name": "weather", "input_schema": {"type": "object"}}
    asked = {**ASKED, "messages": [turn], "tools": [tool], "tool_choice": {"type": "any"}}
    found = ask("POST", f"{a_queen}/v1/messages", asked).json()
    assert found["stop_reason"] == "tool_use"
    assert found["content"] == [
        {"type": "tool_use", "id": "call-1", "name": "weather", "input": {"a": 1}}
    ]
    result = {"type": "tool_result", "tool_use_id": "call-1", "content": "sunny day"}
    use = {"role": "assistant", "content": found["content"]}
    asked["messages"] = [turn, use, {"role": "user", "content": [result]}]
    again = ask("POST", f"{a_queen}/v1/messages", asked).json()
    assert again["content"][0]["text"] == "sunny day"


def test_errors_have_anthropics_envelope(a_queen: str) -> None:
    answer = ask("POST", f"{a_queen}/v1/messages", {**ASKED, "model": "nobody"})
    assert answer.status == 404
    assert answer.json()["error"]["type"] == "not_found_error"
    bad = ask("POST", f"{a_queen}/v1/messages", {**ASKED, "max_tokens": 0})
    assert bad.status == 400
    assert "max_tokens" in bad.json()["error"]["message"]


def test_tokens_are_counted(a_queen: str) -> None:
    asked = {"model": "bee", "system": "be", "messages": [{"role": "user", "content": "a b"}]}
    found = ask("POST", f"{a_queen}/v1/messages/count_tokens", asked).json()
    assert found == {"input_tokens": len("be a b")}
