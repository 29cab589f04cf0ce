"""`/v1/responses`: rbee's answers as that API's response and its items. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from rbee.contracts.answers import Choice, InferAnswer
from rbee.contracts.chat import ToolCall
from rbee.contracts.events import FinishReason, Logprob, Usage
from rbee.queen.openai import shapes
from rbee.queen.openai.responses_requests import ResponsesRequest

Json = dict[str, Any]


def response(answer: InferAnswer, asked: ResponsesRequest, created: int) -> Json:
    """The whole answer."""
    choice = answer.choices[0]
    items = _items(answer.job_id, choice)
    return whole(answer.job_id, asked, created, items, choice.finish_reason, answer.usage)


def whole(
    job_id: str,
    asked: ResponsesRequest,
    created: int,
    items: Sequence[Json],
    reason: FinishReason | None,
    usage: Usage | None,
) -> Json:
    """A response; in progress while `reason` is None."""
    cut = reason == "length"
    return {
        "id": f"resp_{shapes.suffix_of(job_id)}",
        "object": "response",
        "created_at": created,
        "status": status_of(reason),
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "error": None,
        "model": asked.model,
        "output": list(items),
        "usage": None if usage is None else _usage(usage),
        **_echo(asked),
    }


def _echo(asked: ResponsesRequest) -> Json:
    """The request's fields that a response repeats, as they were understood."""
    form = asked.text.format if asked.text else None
    return {
        "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens,
        "metadata": asked.metadata or {},
        "parallel_tool_calls": asked.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {
            "effort": asked.reasoning.effort if asked.reasoning else None,
            "summary": None,
        },
        "store": False,
        "temperature": asked.temperature,
        "text": {"format": msgspec.to_builtins(form) if form else {"type": "text"}},
        "tool_choice": msgspec.to_builtins(asked.tool_choice or "auto"),
        "tools": msgspec.to_builtins(asked.tools or []),
        "top_p": asked.top_p,
        "truncation": "disabled",
    }


def status_of(reason: FinishReason | None) -> str:
    if reason is None:
        return "in_progress"
    return "incomplete" if reason == "length" else "completed"


def _usage(found: Usage) -> Json:
    return {
        "input_tokens": found.prompt_tokens,
        "input_tokens_details": {"cached_tokens": found.cached_tokens},
        "output_tokens": found.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": found.reasoning_tokens},
        "total_tokens": found.total_tokens,
    }


def _items(job_id: str, choice: Choice) -> list[Json]:
    made: list[Json] = []
    if choice.reasoning:
        made.append(reasoning_item(item_id("rs", job_id, 0), choice.reasoning, "completed"))
    if choice.text or not (choice.reasoning or choice.tool_calls):
        name = item_id("msg", job_id, len(made))
        said = part(choice.text, choice.logprobs)
        made.append(text_item(name, [said], status_of(choice.finish_reason)))
    return made + [call_item(call) for call in choice.tool_calls or ()]


def item_id(kind: str, job_id: str, index: int) -> str:
    """Of the item at `index` of the output."""
    return f"{kind}_{shapes.suffix_of(job_id)}{index:02x}"


def text_item(name: str, content: Sequence[Json], status: str) -> Json:
    return {
        "id": name,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": list(content),
    }


def part(text: str, logprobs: Sequence[Logprob] | None = None) -> Json:
    scored = shapes.chat_logprobs(list(logprobs or ()))
    content = scored["content"] if scored else []
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": content}


def reasoning_item(name: str, text: str | None, status: str) -> Json:
    """What the model thought, in full: nobody sums it up."""
    content = [] if text is None else [reasoning_part(text)]
    return {"id": name, "type": "reasoning", "summary": [], "content": content, "status": status}


def reasoning_part(text: str) -> Json:
    return {"type": "reasoning_text", "text": text}


def call_item(call: ToolCall) -> Json:
    return {
        "id": f"fc_{call.id}",
        "type": "function_call",
        "call_id": call.id,
        "name": call.function.name,
        "arguments": call.function.arguments,
        "status": "completed",
    }
