"""`/v1/messages` while it is streamed: rbee's events as Anthropic's. Pure.

An answer is a row of blocks, one open at a time: each is started, filled and stopped before the
next begins. Thoughts, text and calls become blocks in the order in which they come.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from rbee.contracts.chat import ToolCall
from rbee.contracts.events import AnyEvent, Done, Failed, Token, Usage
from rbee.queen.openai import messages_answers as answers
from rbee.wire.codec import encode
from rbee.wire.fold import Fold
from rbee.wire.problems import from_failed

Kind = Literal["text", "thinking"]
_EMPTY: dict[Kind, dict[str, Any]] = {
    "text": {"type": "text", "text": ""},
    "thinking": answers.thinking_block(),
}


class MessageEvents:
    """A `Translate` from events to Anthropic's streaming events."""

    def __init__(self, job_id: str, model: str) -> None:
        self._job_id = job_id
        self._model = model
        self._begun = False
        self._blocks = 0
        """How many were started."""
        self._open: Kind | None = None

    def __call__(self, number: int, events: Sequence[AnyEvent]) -> bytes:
        begin = b"" if self._begun else self._begin()
        return begin + b"".join(self._translate(event) for event in events)

    def _begin(self) -> bytes:
        self._begun = True
        frame = answers.frame(self._job_id, self._model, answers.usage(Usage()))
        return _event("message_start", message=frame)

    def _translate(self, event: AnyEvent) -> bytes:
        if isinstance(event, Token):
            return self._token(event)
        if isinstance(event, Done):
            return self._done(event)
        if isinstance(event, Failed):
            return _event("error", error=answers.error(from_failed(event))["error"])
        return _event("ping")

    def _token(self, event: Token) -> bytes:
        made = self._say("thinking", event.reasoning) if event.reasoning else b""
        if event.text:
            made += self._say("text", event.text)
        return made + b"".join(self._call(call) for call in event.tool_calls or ())

    def _say(self, kind: Kind, text: str) -> bytes:
        begin = self._start(kind)
        delta = {"type": f"{kind}_delta", kind: text}
        return begin + _event("content_block_delta", index=self._blocks - 1, delta=delta)

    def _start(self, kind: Kind) -> bytes:
        if self._open == kind:
            return b""
        before = self._stop()
        self._open = kind
        self._blocks += 1
        block = _EMPTY[kind]
        return before + _event("content_block_start", index=self._blocks - 1, content_block=block)

    def _stop(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        return _event("content_block_stop", index=self._blocks - 1)

    def _call(self, call: ToolCall) -> bytes:
        before, index = self._stop(), self._blocks
        self._blocks += 1
        given = encode(answers.arguments(call)).decode()
        delta = {"type": "input_json_delta", "partial_json": given}
        return (
            before
            + _event("content_block_start", index=index, content_block=answers.use(call, {}))
            + _event("content_block_delta", index=index, delta=delta)
            + _event("content_block_stop", index=index)
        )

    def _done(self, done: Done) -> bytes:
        empty = b"" if self._blocks else self._start("text")
        choice = Fold(1).answer(self._job_id, done).choices[0]
        last = _event("message_delta", delta=answers.end(choice), usage=answers.usage(done.usage))
        return empty + self._stop() + last + _event("message_stop")


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode({"type": kind, **fields}))
