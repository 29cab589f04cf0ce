"""Anthropic's dialect, over HTTP against a real queen."""

from __future__ import annotations

from typing import Any

from tests.http import ask

TURN = {"role": "user", "content": [{"type": "text", "text": "a b"}]}
ASKED: dict[str, Any] = {"model": "bee", "max_tokens": 50, "system": "be", "messages": [TURN]}


def test_whole(a_queen: str) -> None:
    found = ask("POST", f"{a_queen}/v1/messages", ASKED).json()
    assert found["content"] == [{"type": "text", "text": "a b"}]
    assert (found["type"], found["role"], found["stop_reason"]) == (
        "message",
        "assistant",
        "end_turn",
    )
    assert found["usage"] == {"input_tokens": 2, "output_tokens": 2}


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
