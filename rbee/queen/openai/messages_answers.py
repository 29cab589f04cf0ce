"""rbee's answers and errors in Anthropic's words. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from rbee.contracts.answers import Choice, InferAnswer
from rbee.contracts.chat import ToolCall
from rbee.contracts.events import Usage
from rbee.errors import RbeeError
from rbee.queen.openai.shapes import suffix_of

SIGNATURE = ""
"""Of a thinking block. Anthropic signs what its models thought; rbee has nothing to prove, but
clients want the field."""
_ENDS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def message(answer: InferAnswer, model: str) -> dict[str, Any]:
    """The whole answer; `model` as the client called it."""
    choice = answer.choices[0]
    content: list[dict[str, Any]] = []
    if choice.reasoning:
        content.append({**thinking_block(), "thinking": choice.reasoning})
    if choice.text or not (choice.reasoning or choice.tool_calls):
        content.append({"type": "text", "text": choice.text})
    content += [use(call, arguments(call)) for call in choice.tool_calls or ()]
    return {**frame(answer.job_id, model, usage(answer.usage)), "content": content, **end(choice)}


def frame(job_id: str, model: str, used: dict[str, int]) -> dict[str, Any]:
    return {
        "id": f"msg_{suffix_of(job_id)}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": used,
    }


def usage(found: Usage) -> dict[str, int]:
    """Anthropic's `input_tokens` are those that had to be computed."""
    return {
        "input_tokens": found.prompt_tokens - found.cached_tokens,
        "cache_read_input_tokens": found.cached_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": found.completion_tokens,
    }


def end(choice: Choice) -> dict[str, Any]:
    """Why it ended. Where nobody told which stop string it was, it is the end of the turn."""
    if choice.stop is not None and choice.finish_reason == "stop":
        return {"stop_reason": "stop_sequence", "stop_sequence": choice.stop}
    return {"stop_reason": _ENDS.get(choice.finish_reason, "end_turn"), "stop_sequence": None}


def thinking_block() -> dict[str, Any]:
    return {"type": "thinking", "thinking": "", "signature": SIGNATURE}


def use(call: ToolCall, given: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.function.name, "input": given}


def arguments(call: ToolCall) -> dict[str, Any]:
    """The call's input; one that is no JSON object is shown as it was written."""
    try:
        found: dict[str, Any] = msgspec.json.decode(call.function.arguments, type=dict[str, Any])
        return found
    except msgspec.DecodeError:
        return {"arguments": call.function.arguments}


def error(exc: RbeeError) -> dict[str, Any]:
    """Anthropic's envelope."""
    status = 400 if exc.status == 422 else exc.status
    kind = _ERRORS.get(status, "invalid_request_error" if status < 500 else "api_error")
    hint = f" ({exc.hint})" if exc.hint else ""
    where = f"{exc.path.removeprefix('$.')}: " if exc.path else ""
    return {"type": "error", "error": {"type": kind, "message": f"{where}{exc.message}{hint}"}}
