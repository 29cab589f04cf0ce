"""What errors say a field might have been: of the struct that was meant, or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from rbee.contracts.operations import AnyOperation
from rbee.errors import Invalid
from rbee.queen.openai.requests import ChatRequest
from rbee.queen.openai.responses_requests import ResponsesRequest
from rbee.wire import codec

USER = [{"role": "user", "content": "x"}]
CHAT = {"model": "bee", "messages": USER}
ROLES = "it is one of: assistant, developer, system, tool, user"


def hint(kind: Any, body: dict[str, Any]) -> str:
    """The same from bytes and from builtins."""
    with pytest.raises(Invalid) as decoding:
        codec.decode(codec.encode(body), kind)
    with pytest.raises(Invalid) as converting:
        codec.convert(body, kind)
    assert decoding.value.hint == converting.value.hint
    return decoding.value.hint


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"response_format": {"type": "xml"}}, "it is one of: json_object, json_schema, text"),
        ({"messages": [{"role": "boss"}]}, ROLES),
        ({"messages": [{"role": "user", "content": [{"type": "sound"}]}]}, "image_url, text"),
        ({"tool_choice": "perhaps"}, "it is one of: auto, none, required"),
        ({"tool_choice": {"type": "custom"}}, "it is one of: function"),
        ({"modalities": ["audio"]}, "it is one of: text"),
        ({"max_token": 3}, "did you mean 'max_tokens'?"),
        ({"tools": [{"function": {"name": "f", "parameter": {}}}]}, "did you mean 'parameters'?"),
        ({"quite_something_else": 3}, ""),
        ({"temperature": "hot"}, ""),
    ],
)
def test_of_a_chat(given: dict[str, Any], expected: str) -> None:
    found = hint(ChatRequest, {**CHAT, **given})
    assert found.endswith(expected) if expected else not found


def test_of_another_dialect() -> None:
    formats = {"model": "bee", "input": "x", "text": {"format": {"type": "xml"}}}
    assert hint(ResponsesRequest, formats).endswith(": json_object, json_schema, text")


def test_of_operations_only_the_one_that_was_named() -> None:
    infer = {"operation": "infer", "model": "bee"}
    assert hint(AnyOperation, {**infer, "max_token": 3}) == "did you mean 'max_tokens'?"
    assert hint(AnyOperation, {**infer, "messages": [{"role": "boss"}]}) == ROLES
    spawn = {"operation": "worker_spawn", "model": "bee"}
    assert hint(AnyOperation, {**spawn, "max_token": 3}) == ""
    assert hint(AnyOperation, {**spawn, "slot": 3}) == "did you mean 'slots'?"


def test_what_is_no_operation() -> None:
    assert "infer, model_delete" in hint(AnyOperation, {"operation": "dance"})
    assert hint(AnyOperation, {"operation": 5}) == ""
