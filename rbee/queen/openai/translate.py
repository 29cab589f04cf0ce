"""OpenAI's requests as rbee's. Pure; what cannot be honoured raises `Invalid` with its path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from rbee.contracts.chat import Message
from rbee.contracts.operations import Infer
from rbee.errors import Invalid
from rbee.queen.openai.requests import (
    ChatMessage,
    ChatRequest,
    CompletionRequest,
    Input,
    JsonObject,
    JsonSchema,
    Sampling,
)
from rbee.queen.openai.wishes import template_values, thinking, wishes

COMPLETION_TOKENS = 16
"""OpenAI's default for completions."""
MAX_PROMPTS = 64
MAX_CHOICES = 128
"""Of all prompts together."""


def chat(request: ChatRequest) -> Infer:
    """A chat completion as `infer`."""
    if request.top_logprobs and not request.logprobs:
        raise Invalid("top_logprobs needs logprobs to be true.", path="$.top_logprobs")
    return msgspec.structs.replace(
        _base(request),
        messages=[message(m) for m in request.messages],
        max_tokens=request.max_completion_tokens or request.max_tokens,
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        json_schema=_schema(request),
        tools=request.tools,
        tool_choice=request.tool_choice,
        parallel_tool_calls=request.parallel_tool_calls is not False,
        chat_template_kwargs=template_values(request, thinking(request.reasoning_effort)),
    )


def completions(request: CompletionRequest) -> list[Infer]:
    """A completion as one `infer` for each prompt."""
    _check(request)
    prompts = texts(request.prompt, "prompt")
    made = made_of(request)
    if len(prompts) > MAX_PROMPTS:
        raise Invalid(f"{len(prompts)} prompts; at most {MAX_PROMPTS} at once.", path="$.prompt")
    if len(prompts) > 1 and len(prompts) * made > MAX_CHOICES:
        told = f"{len(prompts)} prompts of {made} choices; at most {MAX_CHOICES} choices at once."
        raise Invalid(told, path="$.best_of" if request.best_of else "$.n")
    base = msgspec.structs.replace(
        _base(request),
        n=made,
        max_tokens=COMPLETION_TOKENS if request.max_tokens is None else request.max_tokens,
        logprobs=_scored(request),
        echo=bool(request.echo),
        suffix=request.suffix,
        json_schema=request.json_schema,
    )
    return [msgspec.structs.replace(base, prompt=prompt) for prompt in prompts]


def made_of(request: CompletionRequest) -> int:
    """How many choices are made of each prompt; `n` of them are the answer."""
    return request.best_of or request.n or 1


def _check(request: CompletionRequest) -> None:
    if request.suffix is not None and request.echo:
        raise Invalid("Give suffix or echo, not both.", path="$.suffix")
    if request.chat_template_kwargs:
        raise unsupported("chat_template_kwargs", "a completion is not rendered by a template")
    if made_of(request) < (request.n or 1):
        raise Invalid("best_of must be at least n.", path="$.best_of")
    if made_of(request) > (request.n or 1) and request.stream:
        raise Invalid("The best are known at the end: best_of cannot stream.", path="$.best_of")


def _scored(request: CompletionRequest) -> int | None:
    """Choices that are to be compared are scored, also for a client who does not ask."""
    compared = made_of(request) > (request.n or 1)
    return 0 if compared and request.logprobs is None else request.logprobs


def message(given: ChatMessage) -> Message:
    return Message(
        role=given.role,
        content=given.content,
        reasoning_content=given.reasoning_content,
        name=given.name,
        tool_calls=given.tool_calls or None,
        tool_call_id=given.tool_call_id,
        refusal=given.refusal,
    )


def texts(given: Input, where: str) -> list[str | list[int]]:
    """`input` or `prompt` as a list of texts or id lists. Raises `Invalid` for a mixture."""
    if isinstance(given, str):
        return [given]
    kinds = {type(part) for part in given}
    if len(kinds) != 1:
        raise Invalid(f"{where} mixes texts, ids and lists of ids.", path=f"$.{where}")
    if kinds == {int}:
        return [cast("list[int]", given)]
    return cast("list[str | list[int]]", given)


def stops(given: str | Sequence[str] | None) -> list[str] | None:
    return [given] if isinstance(given, str) else (list(given) if given else None)


def unsupported(name: str, why: str) -> Invalid:
    return Invalid(f"{name} is not supported: {why}.", hint="leave it out", path=f"$.{name}")


def _base(request: Sampling) -> Infer:
    """What every request has in common."""
    given: dict[str, Any] = {
        **wishes(request),
        "temperature": request.temperature,
        "top_p": request.top_p,
    }
    return Infer(
        model=request.model,
        stop=stops(request.stop),
        n=request.n or 1,
        stream=bool(request.stream),
        **given,
    )


def _schema(request: ChatRequest) -> dict[str, Any] | None:
    match request.response_format:
        case JsonObject():
            return {"type": "object"}
        case JsonSchema(json_schema=spec):
            return spec.schema
        case _:
            return None
