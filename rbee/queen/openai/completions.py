"""`completions`, OpenAI's older API: text in, text out. Pure but for the ids given in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from rbee.contracts.answers import Choice, InferAnswer
from rbee.contracts.events import AnyEvent, Done, Token
from rbee.queen.openai import shapes
from rbee.queen.openai.chat import aside
from rbee.queen.openai.requests import CompletionRequest
from rbee.queen.openai.translate import made_of
from rbee.wire import sse
from rbee.wire.codec import encode
from rbee.wire.fold import reason_of


def completion(answer: InferAnswer, model: str, created: int) -> dict[str, Any]:
    """The whole answer; `model` as the client called it."""
    choices = [
        {
            "index": choice.index,
            "text": choice.text,
            "logprobs": shapes.text_logprobs(choice.logprobs),
            "finish_reason": shapes.reason(choice.finish_reason),
        }
        for choice in answer.choices
    ]
    frame = _frame(answer.job_id, model, created)
    return {**frame, "choices": choices, "usage": shapes.usage(answer.usage)}


def best(answer: InferAnswer, request: CompletionRequest) -> InferAnswer:
    """The answer that was asked for, of one in which more choices were made: of each prompt's
    `best_of` the `n` whose tokens were likeliest in the mean, the likeliest first."""
    made, wanted = made_of(request), request.n or 1
    if made == wanted:
        return answer
    kept: list[Choice] = []
    for first in range(0, len(answer.choices), made):
        kept += sorted(answer.choices[first : first + made], key=likelihood)[-wanted:][::-1]
    changes = {} if request.logprobs is not None else {"logprobs": None}
    choices = [
        msgspec.structs.replace(choice, index=index, **changes) for index, choice in enumerate(kept)
    ]
    return msgspec.structs.replace(answer, choices=choices)


def likelihood(choice: Choice) -> float:
    """The mean of its own tokens' logarithms; those of an echoed prompt stand before them."""
    own = (choice.logprobs or [])[-len(choice.token_ids) :] if choice.token_ids else []
    scores = [one.logprob for one in own if one.logprob is not None]
    return sum(scores) / len(scores) if scores else -math.inf


def _frame(job_id: str, model: str, created: int) -> dict[str, Any]:
    return {
        "id": f"cmpl-{shapes.suffix_of(job_id)}",
        "object": "text_completion",
        "created": created,
        "model": model,
        "system_fingerprint": shapes.FINGERPRINT,
    }


class TextChunks:
    """A `Translate` from events to completion chunks."""

    def __init__(self, job_id: str, model: str, created: int, n: int, usage: bool) -> None:
        self._frame = _frame(job_id, model, created)
        self._n = n
        self._usage = usage
        self._written = [0] * n
        """Characters so far, for the offsets of the logprobs."""

    def __call__(self, number: int, events: Sequence[AnyEvent]) -> bytes:
        return b"".join(self._translate(event) for event in events)

    def _translate(self, event: AnyEvent) -> bytes:
        if isinstance(event, Token):
            if not event.text and event.logprobs is None:
                return b""
            logprobs = shapes.text_logprobs(event.logprobs, self._written[event.choice])
            self._written[event.choice] += len(event.text)
            return self._chunk(event.choice, event.text, logprobs)
        if isinstance(event, Done):
            return self._done(event)
        return aside(event)

    def _done(self, done: Done) -> bytes:
        ends = [shapes.reason(reason_of(done, choice)) for choice in range(self._n)]
        parts = [self._chunk(choice, "", finish=end) for choice, end in enumerate(ends)]
        if self._usage:
            last = {**self._frame, "choices": [], "usage": shapes.usage(done.usage)}
            parts.append(sse.frame(encode(last)))
        return b"".join(parts)

    def _chunk(
        self, choice: int, text: str, logprobs: Any = None, finish: str | None = None
    ) -> bytes:
        inside = {"index": choice, "text": text, "logprobs": logprobs, "finish_reason": finish}
        made = {**self._frame, "choices": [inside]}
        if self._usage:
            made["usage"] = None
        return sse.frame(encode(made))
