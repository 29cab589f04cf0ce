"""`chat/completions`: rbee's events and answers in OpenAI's words. Pure but for the ids given in.

A chunk with nothing but text is the common case, so everything around the text is encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rbee.contracts.answers import Choice, InferAnswer, ProblemReply
from rbee.contracts.events import AnyEvent, Done, Failed, Moved, Progress, Queued, Token
from rbee.queen.openai import shapes
from rbee.wire import sse
from rbee.wire.codec import encode
from rbee.wire.fold import reason_of
from rbee.wire.problems import from_failed, problem


def completion(answer: InferAnswer, model: str, created: int) -> dict[str, Any]:
    """The whole answer; `model` as the client called it."""
    return {
        "id": f"chatcmpl-{shapes.suffix_of(answer.job_id)}",
        "object": "chat.completion",
        "created": created,
        "model": model,
        "system_fingerprint": shapes.FINGERPRINT,
        "choices": [_choice(choice) for choice in answer.choices],
        "usage": shapes.usage(answer.usage),
    }


def _choice(choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text, "refusal": None}
    if choice.reasoning:
        message["reasoning_content"] = choice.reasoning
    if choice.tool_calls:
        message["content"] = choice.text or None
        message["tool_calls"] = [shapes.call(call) for call in choice.tool_calls]
    return {
        "index": choice.index,
        "message": message,
        "logprobs": shapes.chat_logprobs(choice.logprobs),
        "finish_reason": shapes.reason(choice.finish_reason),
    }


class ChatChunks:
    """A `Translate` from events to `chat.completion.chunk`s."""

    def __init__(self, job_id: str, model: str, created: int, n: int, usage: bool) -> None:
        self._frame: dict[str, Any] = {
            "id": f"chatcmpl-{shapes.suffix_of(job_id)}",
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
            "system_fingerprint": shapes.FINGERPRINT,
        }
        self._usage = usage
        self._n = n
        self._begun: set[int] = set()
        self._calls: dict[int, int] = {}
        """How many tool calls each choice has made."""
        self._ends = [self._around_text(index) for index in range(n)]

    def __call__(self, number: int, events: Sequence[AnyEvent]) -> bytes:
        return b"".join(self._translate(event) for event in events)

    def _translate(self, event: AnyEvent) -> bytes:
        if isinstance(event, Token):
            return self._token(event)
        if isinstance(event, Done):
            return self._done(event)
        return aside(event)

    def _token(self, event: Token) -> bytes:
        begin = self._begin(event.choice)
        if event.logprobs is None and event.tool_calls is None and not event.reasoning:
            if not event.text:
                return begin
            before, after = self._ends[event.choice]
            return begin + before + encode(event.text) + after
        logprobs = shapes.chat_logprobs(event.logprobs)
        return begin + self._chunk(event.choice, self._delta(event), logprobs)

    def _delta(self, event: Token) -> dict[str, Any]:
        delta: dict[str, Any] = {"content": event.text} if event.text else {}
        if event.reasoning:
            delta["reasoning_content"] = event.reasoning
        if event.tool_calls:
            first = self._calls.get(event.choice, 0)
            self._calls[event.choice] = first + len(event.tool_calls)
            delta["tool_calls"] = [
                shapes.call(c, first + i) for i, c in enumerate(event.tool_calls)
            ]
        return delta

    def _begin(self, choice: int) -> bytes:
        """The chunk that says whose words follow, once for each choice."""
        if choice in self._begun:
            return b""
        self._begun.add(choice)
        return self._chunk(choice, {"role": "assistant", "content": "", "refusal": None})

    def _done(self, done: Done) -> bytes:
        parts: list[bytes] = []
        for choice in range(self._n):
            parts.append(self._begin(choice))
            end = shapes.reason(reason_of(done, choice))
            parts.append(self._chunk(choice, {}, finish=end))
        if self._usage:
            last = {**self._frame, "choices": [], "usage": shapes.usage(done.usage)}
            parts.append(sse.frame(encode(last)))
        return b"".join(parts)

    def _chunk(
        self, choice: int, delta: dict[str, Any], logprobs: Any = None, finish: str | None = None
    ) -> bytes:
        inside = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        made = {**self._frame, "choices": [inside]}
        if self._usage:
            made["usage"] = None
        return sse.frame(encode(made))

    def _around_text(self, choice: int) -> tuple[bytes, bytes]:
        """A text chunk's bytes before and after its text."""
        mark = "\x00text\x00"
        before, _, after = self._chunk(choice, {"content": mark}).partition(encode(mark))
        return before, after


def aside(event: AnyEvent) -> bytes:
    """What OpenAI's streams have no chunk for: waiting is a comment, a failure their envelope."""
    if isinstance(event, Failed):
        return sse.frame(encode(ProblemReply(problem(from_failed(event)))))
    if isinstance(event, Queued):
        return b": queued, %d ahead\n\n" % event.position
    if isinstance(event, Moved):
        return b": moved, %d times\n\n" % event.migrations
    if isinstance(event, Progress):
        return b": progress %d of %d\n\n" % (event.done, event.total or 0)
    return b""
