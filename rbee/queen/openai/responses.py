"""`/v1/responses`, text and function calls: OpenAI's newer API, translated. Pure.

Nothing is stored: `previous_response_id`, `conversation` and `background` are refused by name.
"""

from __future__ import annotations

from typing import Any

from rbee.contracts.answers import Choice, InferAnswer
from rbee.contracts.chat import (
    FunctionSpec,
    Message,
    NamedFunction,
    NamedTool,
    PastCall,
    PastFunctionCall,
    TextPart,
    Tool,
    ToolCall,
)
from rbee.contracts.events import FinishReason, Usage
from rbee.contracts.operations import Infer
from rbee.errors import Invalid
from rbee.queen.openai.responses_requests import (
    Item,
    JsonObjectFormat,
    JsonSchemaFormat,
    ResponsesRequest,
)
from rbee.queen.openai.shapes import suffix_of
from rbee.queen.openai.translate import unsupported


def infer_of(asked: ResponsesRequest) -> Infer:
    """The request as `infer`. Raises `Invalid` for what would need memory."""
    for name in ("previous_response_id", "conversation", "prompt", "background"):
        if getattr(asked, name):
            raise unsupported(name, "this server keeps no conversations")
    if asked.parallel_tool_calls is False and asked.tools:
        raise unsupported("parallel_tool_calls", "rbee cannot promise a single call")
    tools = [
        Tool(FunctionSpec(t.name, t.description, t.parameters, t.strict)) for t in asked.tools or ()
    ]
    choice = asked.tool_choice
    return Infer(
        model=asked.model,
        messages=_messages(asked),
        max_tokens=asked.max_output_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        json_schema=_schema(asked),
        tools=tools or None,
        tool_choice=(choice if choice is None or isinstance(choice, str) else _named(choice.name)),
        stream=bool(asked.stream),
    )


def _named(name: str) -> NamedTool:
    return NamedTool(NamedFunction(name))


def _schema(asked: ResponsesRequest) -> dict[str, Any] | None:
    wanted = asked.text.format if asked.text is not None else None
    if isinstance(wanted, JsonSchemaFormat):
        return wanted.schema
    return {"type": "object"} if isinstance(wanted, JsonObjectFormat) else None


def _messages(asked: ResponsesRequest) -> list[Message]:
    made = [Message("system", asked.instructions)] if asked.instructions else []
    if isinstance(asked.input, str):
        return [*made, Message("user", asked.input)]
    for number, item in enumerate(asked.input):
        made.append(_message(item, f"$.input[{number}]"))
    return made


def _message(item: Item, path: str) -> Message:
    match item.type:
        case "message":
            if item.role is None or item.content is None:
                raise Invalid("A message has a role and content.", path=path)
            content = item.content
            if not isinstance(content, str):
                return Message(item.role, [TextPart(part.text) for part in content])
            return Message(item.role, content)
        case "function_call":
            call = PastCall(item.call_id or "", PastFunctionCall(item.name or "_", item.arguments))
            return Message("assistant", None, tool_calls=[call])
        case "function_call_output":
            return Message("tool", item.output, tool_call_id=item.call_id)


def response(answer: InferAnswer, asked: ResponsesRequest, created: int) -> dict[str, Any]:
    """The whole answer."""
    choice = answer.choices[0]
    return whole(answer.job_id, asked, created, choice, answer.usage)


def whole(
    job_id: str, asked: ResponsesRequest, created: int, choice: Choice | None, usage: Usage | None
) -> dict[str, Any]:
    cut = choice is not None and choice.finish_reason == "length"
    return {
        "id": f"resp_{suffix_of(job_id)}",
        "object": "response",
        "created_at": created,
        "status": "in_progress" if choice is None else ("incomplete" if cut else "completed"),
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "error": None,
        "model": asked.model,
        "instructions": asked.instructions,
        "output": [] if choice is None else _output(job_id, choice),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "metadata": asked.metadata or {},
        "usage": None if usage is None else _usage(usage),
    }


def _usage(found: Usage) -> dict[str, Any]:
    return {
        "input_tokens": found.prompt_tokens,
        "input_tokens_details": {"cached_tokens": found.cached_tokens},
        "output_tokens": found.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": found.total_tokens,
    }


def _output(job_id: str, choice: Choice) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    if choice.text or not choice.tool_calls:
        made.append(text_item(job_id, choice.text, choice.finish_reason))
    made += [call_item(call) for call in choice.tool_calls or ()]
    return made


def text_item(job_id: str, text: str, reason: FinishReason | None) -> dict[str, Any]:
    """A message item; empty and in progress while `reason` is None."""
    status = (
        "in_progress" if reason is None else ("incomplete" if reason == "length" else "completed")
    )
    return {
        "id": f"msg_{suffix_of(job_id)}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [] if reason is None else [part(text)],
    }


def part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def call_item(call: ToolCall) -> dict[str, Any]:
    return {
        "id": f"fc_{call.id}",
        "type": "function_call",
        "call_id": call.id,
        "name": call.function.name,
        "arguments": call.function.arguments,
        "status": "completed",
    }
