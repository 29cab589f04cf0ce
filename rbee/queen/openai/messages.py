"""`/v1/messages`, Anthropic's API: text, system prompts and tools, translated. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from rbee.contracts.answers import Choice, InferAnswer
from rbee.contracts.chat import (
    FunctionSpec,
    Message,
    NamedFunction,
    NamedTool,
    PastCall,
    PastFunctionCall,
    Tool,
    ToolCall,
    ToolChoice,
)
from rbee.contracts.events import AnyEvent, Done, Failed, Token, Usage
from rbee.contracts.operations import Infer
from rbee.contracts.worker_api import Tokenize
from rbee.errors import Invalid, RbeeError
from rbee.queen.openai.messages_requests import (
    CountRequest,
    MessagesRequest,
    TextBlock,
    ToolPick,
    ToolResult,
    ToolUse,
    Turn,
)
from rbee.queen.openai.shapes import suffix_of
from rbee.wire.codec import encode
from rbee.wire.fold import Fold
from rbee.wire.problems import from_failed

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


def infer_of(asked: MessagesRequest) -> Infer:
    """The request as `infer`."""
    return Infer(
        model=asked.model,
        messages=_messages(asked),
        max_tokens=asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        stop=asked.stop_sequences or None,
        tools=_tools(asked),
        tool_choice=_choice(asked.tool_choice),
        stream=bool(asked.stream),
    )


def question_of(asked: CountRequest) -> Tokenize:
    """The same conversation, to be counted."""
    return Tokenize(model=asked.model, messages=_messages(asked), tools=_tools(asked))


def _messages(asked: CountRequest) -> list[Message]:
    made = [Message("system", _text(asked.system))] if asked.system else []
    for turn in asked.messages:
        made += _turn(turn)
    return made


def _tools(asked: CountRequest) -> list[Tool] | None:
    specs = [FunctionSpec(t.name, t.description, t.input_schema) for t in asked.tools or ()]
    return [Tool(spec) for spec in specs] or None


def _choice(pick: ToolPick | None) -> ToolChoice | None:
    if pick is None:
        return None
    if pick.type == "tool":
        if not pick.name:
            raise Invalid("tool_choice names no tool.", path="$.tool_choice.name")
        return NamedTool(NamedFunction(pick.name))
    words: dict[str, Literal["none", "auto", "required"]] = {
        "auto": "auto",
        "any": "required",
        "none": "none",
    }
    return words[pick.type]


def _text(given: str | Sequence[TextBlock] | None) -> str:
    if given is None or isinstance(given, str):
        return given or ""
    return "\n".join(block.text for block in given)


def _turn(turn: Turn) -> list[Message]:
    """A turn as messages: what tools answered comes first, each in a message of its own."""
    if isinstance(turn.content, str):
        return [Message(turn.role, turn.content)]
    results = [
        Message("tool", _text(block.content), tool_call_id=block.tool_use_id)
        for block in turn.content
        if isinstance(block, ToolResult)
    ]
    text = _text([block for block in turn.content if isinstance(block, TextBlock)])
    calls = [_call(block) for block in turn.content if isinstance(block, ToolUse)]
    if text or calls or not results:
        results.append(Message(turn.role, text or None, tool_calls=calls or None))
    return results


def _call(block: ToolUse) -> PastCall:
    return PastCall(block.id, PastFunctionCall(block.name, encode(block.input).decode()))


def message(answer: InferAnswer, model: str) -> dict[str, Any]:
    """The whole answer; `model` as the client called it."""
    choice = answer.choices[0]
    content: list[dict[str, Any]] = []
    if choice.text or not choice.tool_calls:
        content.append({"type": "text", "text": choice.text})
    content += [_use(call, _arguments(call)) for call in choice.tool_calls or ()]
    frame = _frame(answer.job_id, model, _usage(answer.usage))
    return {**frame, "content": content, "stop_reason": _end(choice)}


def _frame(job_id: str, model: str, usage: dict[str, int]) -> dict[str, Any]:
    return {
        "id": f"msg_{suffix_of(job_id)}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }


def _usage(found: Usage) -> dict[str, int]:
    return {"input_tokens": found.prompt_tokens, "output_tokens": found.completion_tokens}


def _end(choice: Choice) -> str:
    return _ENDS.get(choice.finish_reason, "end_turn")


def _use(call: ToolCall, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.function.name, "input": arguments}


def _arguments(call: ToolCall) -> dict[str, Any]:
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


class MessageEvents:
    """A `Translate` from events to Anthropic's streaming events."""

    def __init__(self, job_id: str, model: str) -> None:
        self._job_id = job_id
        self._model = model
        self._fold = Fold()
        self._begun = False
        self._text_open = False

    def __call__(self, number: int, events: Sequence[AnyEvent]) -> bytes:
        begin = b"" if self._begun else self._begin()
        self._fold.add(events)
        return begin + b"".join(self._translate(event) for event in events)

    def _begin(self) -> bytes:
        self._begun = True
        frame = _frame(self._job_id, self._model, _usage(Usage()))
        return _event("message_start", message=frame)

    def _translate(self, event: AnyEvent) -> bytes:
        if isinstance(event, Token) and event.text:
            delta = {"type": "text_delta", "text": event.text}
            return self._open_text() + _event("content_block_delta", index=0, delta=delta)
        if isinstance(event, Done):
            return self._done(event)
        if isinstance(event, Failed):
            return _event("error", error=error(from_failed(event))["error"])
        return _event("ping")

    def _open_text(self) -> bytes:
        if self._text_open:
            return b""
        self._text_open = True
        block = {"type": "text", "text": ""}
        return _event("content_block_start", index=0, content_block=block)

    def _done(self, done: Done) -> bytes:
        choice = self._fold.answer(self._job_id, done).choices[0]
        made = b"" if choice.tool_calls else self._open_text()
        if self._text_open:
            made += _event("content_block_stop", index=0)
        for index, call in enumerate(choice.tool_calls or (), int(self._text_open)):
            made += _tool_block(index, call)
        delta = {"stop_reason": _end(choice), "stop_sequence": None}
        end = _event("message_delta", delta=delta, usage=_usage(done.usage))
        return made + end + _event("message_stop")


def _tool_block(index: int, call: ToolCall) -> bytes:
    delta = {"type": "input_json_delta", "partial_json": call.function.arguments}
    return (
        _event("content_block_start", index=index, content_block=_use(call, {}))
        + _event("content_block_delta", index=index, delta=delta)
        + _event("content_block_stop", index=index)
    )


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode({"type": kind, **fields}))
