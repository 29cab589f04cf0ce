"""The pieces that OpenAI's answers share. Pure."""

from __future__ import annotations

from typing import Any

from rbee import __version__
from rbee.contracts.chat import ToolCall
from rbee.contracts.events import FinishReason, Logprob, Usage

FINGERPRINT = f"rbee-{__version__}"


def usage(found: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": found.prompt_tokens,
        "completion_tokens": found.completion_tokens,
        "total_tokens": found.total_tokens,
        "prompt_tokens_details": {"cached_tokens": found.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": found.reasoning_tokens},
    }


def reason(found: FinishReason) -> str:
    """OpenAI has no word for an answer that was cancelled."""
    return "stop" if found == "cancelled" else found


def suffix_of(job_id: str) -> str:
    """The random part of a job's id, for ids in other dialects."""
    return job_id.removeprefix("job-")


def call(found: ToolCall, index: int | None = None) -> dict[str, Any]:
    """A tool call; with its position when it is part of a stream."""
    made: dict[str, Any] = {
        "id": found.id,
        "type": "function",
        "function": {"name": found.function.name, "arguments": found.function.arguments},
    }
    return made if index is None else {"index": index, **made}


def chat_logprobs(found: list[Logprob] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    content = [{**_logprob(one), "top_logprobs": [_logprob(t) for t in one.top]} for one in found]
    return {"content": content, "refusal": None}


def _logprob(found: Logprob) -> dict[str, Any]:
    return {"token": found.text, "logprob": found.logprob, "bytes": found.bytes}


def text_logprobs(found: list[Logprob] | None, offset: int = 0) -> dict[str, Any] | None:
    """The older form of the completions API; `offset` is where the text begins."""
    if found is None:
        return None
    offsets: list[int] = []
    for one in found:
        offsets.append(offset)
        offset += len(one.text)
    return {
        "tokens": [one.text for one in found],
        "token_logprobs": [one.logprob for one in found],
        "top_logprobs": [_by_text(one) for one in found],
        "text_offset": offsets,
    }


def _by_text(found: Logprob) -> dict[str, float | None] | None:
    """The likeliest tokens and the chosen one, which may be none of them; null where nothing was
    predicted. Of two tokens with the same text the likelier counts."""
    if found.logprob is None:
        return None
    made: dict[str, float | None] = {}
    for one in (*found.top, found):
        made.setdefault(one.text, one.logprob)
    return made
