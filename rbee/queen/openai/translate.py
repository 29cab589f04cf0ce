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

COMPLETION_TOKENS = 16
"""OpenAI's default for completions."""
MAX_PROMPTS = 64
_SHARED = (
    "model", "temperature", "top_p", "seed", "presence_penalty", "frequency_penalty",
    "logit_bias", "top_k", "min_p", "repeat_penalty", "grammar", "hive_id", "worker_id",
    "device", "priority", "deadline_ms",
)  # fmt: skip
"""Fields that mean the same in both."""


def chat(request: ChatRequest) -> Infer:
    """A chat completion as `infer`."""
    if request.parallel_tool_calls is False and request.tools:
        raise unsupported("parallel_tool_calls", "rbee cannot promise a single call")
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
    )


def completions(request: CompletionRequest) -> list[Infer]:
    """A completion as one `infer` for each prompt."""
    if request.echo:
        raise unsupported("echo", "prompts are not scored")
    if request.suffix:
        raise unsupported("suffix", "filling in the middle is not offered")
    if request.best_of is not None and request.best_of != (request.n or 1):
        raise unsupported("best_of", "it may only equal n")
    prompts = texts(request.prompt, "prompt")
    if len(prompts) > MAX_PROMPTS:
        raise Invalid(f"{len(prompts)} prompts; at most {MAX_PROMPTS} at once.", path="$.prompt")
    base = msgspec.structs.replace(
        _base(request),
        max_tokens=request.max_tokens or COMPLETION_TOKENS,
        logprobs=request.logprobs,
    )
    return [msgspec.structs.replace(base, prompt=prompt) for prompt in prompts]


def message(given: ChatMessage) -> Message:
    return Message(
        role=given.role,
        content=given.content,
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


def unsupported(name: str, why: str) -> Invalid:
    return Invalid(f"{name} is not supported: {why}.", hint="leave it out", path=f"$.{name}")


def _base(request: Sampling) -> Infer:
    """What every request has in common."""
    same: dict[str, Any] = {name: getattr(request, name) for name in _SHARED}
    stop: str | Sequence[str] | None = request.stop
    return Infer(
        **same,
        stop=[stop] if isinstance(stop, str) else (list(stop) if stop else None),
        n=request.n or 1,
        stream=bool(request.stream),
    )


def _schema(request: ChatRequest) -> dict[str, Any] | None:
    match request.response_format:
        case JsonObject():
            return {"type": "object"}
        case JsonSchema(json_schema=spec):
            return spec.schema
        case _:
            return None
