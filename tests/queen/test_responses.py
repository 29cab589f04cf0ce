"""OpenAI's newer API: its items as messages, and answers as items, streamed and whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from rbee.contracts.chat import FunctionCall, ToolCall
from rbee.contracts.events import AnyEvent, Done, Logprob, Token, Usage
from rbee.contracts.operations import Infer
from rbee.errors import Invalid
from rbee.queen.openai import responses, responses_items
from rbee.queen.openai.responses_requests import ResponsesRequest
from rbee.queen.openai.responses_stream import ResponseEvents
from rbee.wire.codec import decode
from rbee.wire.fold import Fold
from rbee.wire.sse import FrameReader

TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}}
CALL = ToolCall("call-1", FunctionCall("f", '{"a":1}'))
SCORE = Logprob(1, "a", -0.5, [97])


def request(given: Any, **more: Any) -> ResponsesRequest:
    body = {"model": "bee", "input": given, **more}
    found: ResponsesRequest = decode(json.dumps(body).encode(), ResponsesRequest)
    return found


def infer(given: Any, **more: Any) -> Infer:
    return responses.infer_of(request(given, **more))


def events(told: Sequence[AnyEvent], asked: ResponsesRequest) -> list[Any]:
    made = ResponseEvents("job-1", asked, 7)
    raw = b"".join(made(0, [event]) for event in told)
    return [json.loads(data) for data in FrameReader().feed(raw)]


def test_the_items_of_one_turn_are_one_message() -> None:
    found = infer(
        [
            {"role": "user", "content": [{"type": "input_text", "text": "q"}]},
            {"type": "reasoning", "id": "rs", "summary": [], "content": [reasoning("hm")]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "2", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "x"},
            {"type": "function_call_output", "call_id": "2", "output": [text("y")]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "so"}]},
            {"type": "message", "role": "assistant", "content": "b", "status": "completed"},
            {"type": "message", "role": "assistant", "content": "c", "phase": "final_answer"},
        ],
        instructions="be",
    )
    said = found.messages or []
    assert [m.role for m in said] == [
        *("system", "user", "assistant", "tool", "tool", "assistant", "assistant")
    ]
    turn = said[2]
    assert turn.reasoning_content == "hm"
    assert [c.function.name for c in turn.tool_calls or ()] == ["f", "g"]
    assert (said[5].reasoning_content, said[5].content) == ("so", "b")
    assert (said[6].reasoning_content, said[6].content) == (None, "c")


def text(said: str) -> dict[str, str]:
    return {"type": "input_text", "text": said}


def reasoning(said: str) -> dict[str, str]:
    return {"type": "reasoning_text", "text": said}


def test_images() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}
    found = infer([{"role": "user", "content": [text("what?"), image]}])
    part = msgspec.to_builtins((found.messages or [])[0].content)[1]
    assert part["image_url"]["url"] == "data:image/png;base64,AAAA"


@pytest.mark.parametrize(
    "item",
    [
        {"type": "message", "role": "user", "content": "x", "output": "y"},
        {"type": "function_call", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1"},
        {"type": "message", "content": "x"},
        {"type": "message", "role": "user", "content": [reasoning("x")]},
        {"type": "reasoning", "content": [text("x")]},
        {"type": "item_reference", "id": "x"},
        {"role": "user", "content": [{"type": "input_file", "file_id": "x"}]},
    ],
)
def test_a_bad_item_is_named(item: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        infer([item])
    assert caught.value.path.startswith("$.input")


def test_logprobs_are_asked_for_in_two_ways() -> None:
    assert infer("x").logprobs is None
    assert infer("x", include=["message.output_text.logprobs"]).logprobs == 0
    assert infer("x", top_logprobs=3).logprobs == 3


def test_the_answer_repeats_what_was_asked() -> None:
    asked = request(
        "x",
        tools=[TOOL],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        temperature=0.5,
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "array"}}},
        reasoning={"effort": "low", "summary": "auto"},
        metadata={"a": "b"},
    )
    found = events([Done(finish_reason="length", usage=Usage(5, 3, 2, 1))], asked)[-1]["response"]
    assert found["tools"][0]["name"] == "f"
    assert found["tool_choice"] == {"type": "function", "name": "f"}
    assert found["parallel_tool_calls"] is False
    assert found["text"]["format"]["type"] == "json_schema"
    assert found["reasoning"] == {"effort": "low", "summary": None}
    assert found["metadata"] == {"a": "b"}
    assert found["status"] == "incomplete"
    assert found["incomplete_details"] == {"reason": "max_output_tokens"}
    assert found["usage"]["input_tokens_details"] == {"cached_tokens": 2}
    assert found["usage"]["output_tokens_details"] == {"reasoning_tokens": 1}


def test_streams_and_wholes_have_the_same_items() -> None:
    told: list[AnyEvent] = [
        Token(index=0, text="", token_ids=[1], reasoning="h"),
        Token(index=1, text="", token_ids=[2], reasoning="m"),
        Token(index=2, text="a", token_ids=[3], logprobs=[SCORE]),
        Token(index=3, text="b", token_ids=[4], logprobs=[SCORE]),
        Token(index=4, text="", token_ids=[5], tool_calls=[CALL]),
        Done(finish_reason="tool_calls", usage=Usage(5, 5)),
    ]
    asked = request("x", tools=[TOOL])
    found = events(told, asked)
    fold = Fold()
    fold.add(told)
    assert isinstance(told[-1], Done)
    whole = responses_items.response(fold.answer("job-1", told[-1]), asked, 7)
    assert found[-1]["response"]["output"] == whole["output"]
    assert [i["type"] for i in whole["output"]] == ["reasoning", "message", "function_call"]
    assert len(whole["output"][1]["content"][0]["logprobs"]) == 2
    done = [e for e in found if e["type"] == "response.output_item.done"]
    assert [e["output_index"] for e in done] == [0, 1, 2]
    assert [e["item"] for e in done] == whole["output"]
    kinds = [e["type"].removeprefix("response.") for e in found]
    assert kinds[2:8] == [
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
    ]
    assert [e["sequence_number"] for e in found] == list(range(len(found)))
