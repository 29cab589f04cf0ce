"""A request inside the worker: its choices so far, and the events made of the engine's updates.

Pure but for the log it appends to; knows neither the engine nor HTTP. A choice can be complete
before the engine knows: with its one call, where only one was asked for. `cut` tells the engine.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rbee.contracts.answers import InferAnswer
from rbee.contracts.events import (
    AnyEvent,
    Done,
    Failed,
    FinishReason,
    Logprob,
    Prompt,
    Timings,
    Token,
    Usage,
)
from rbee.contracts.operations import Infer
from rbee.contracts.worker_api import Begun, Resume, Written
from rbee.errors import RbeeError
from rbee.wire.eventlog import EventLog
from rbee.wire.fold import Fold
from rbee.wire.replies import from_failed
from rbee.worker.engine.writer import Update
from rbee.worker.prepare import Prepared
from rbee.worker.reading import AnswerReader
from rbee.worker.replay import Replayed


@dataclass
class _ChoiceState:
    """One of a request's answers so far."""

    reader: AnswerReader
    said: list[int]
    """Tokens that were reported."""
    total: int
    ids: list[int] = field(default_factory=list)
    """Tokens whose text is not certain yet."""
    thought: int = 0
    """How many of the tokens were spent on reasoning."""
    logprobs: list[Logprob] = field(default_factory=list)
    finish: FinishReason | None = None
    stop: str | None = None


def nothing() -> None:
    """What is left to be done to begin, once it has begun."""


class Ticket:
    """A request inside the worker: its events, and the way to end it."""

    def __init__(
        self,
        infer: Infer,
        prepared: Prepared,
        begun: Sequence[Replayed],
        job_id: str,
        cancel: Callable[[], None],
        cut: Callable[[int], None] = lambda choice: None,
        resume: Resume | None = None,
    ) -> None:
        """`begun` is where each choice stands: at its beginning, or where `resume` says."""
        self.id = job_id or f"job-{secrets.token_hex(8)}"
        self.infer = infer
        self.log = EventLog(first=resume.first if resume else 0)
        self.log.append(*(resume.events if resume else ()))
        self.start = self.log.total
        """The number of the first event that is its own."""
        self.migrations = resume.migrations if resume else 0
        self.tries = 1
        """Workers that were asked for this answer, this one included."""
        self.prompt_ids = None if prepared.images else list(prepared.prompt)
        self.prompt_tokens = prepared.prompt_tokens
        self.choices = [_state_of(choice) for choice in begun]
        self._before = sum(choice.total for choice in self.choices)
        """Tokens that others have computed."""
        echo = Prompt(text=prepared.text, token_ids=list(prepared.prompt))
        prompted = resume is not None and resume.prompted
        self._prompt: Prompt | None = echo if prepared.echo and not prompted else None
        """What is to be told before any token."""
        self._scored = infer.logprobs is not None
        self._held: list[AnyEvent] = []
        """Tokens of other choices, that came before the prompt was scored."""
        self.cached = 0
        """Tokens of the prompt that had been computed before."""
        self.arrived = time.monotonic()
        self.admitted: float | None = None
        self.first: float | None = None
        self.deadline: asyncio.TimerHandle | None = None
        self.cancel = cancel
        self.cut = cut
        self.go: Callable[[], None] = nothing
        """Begin to compute, where that waits to be told."""

    @property
    def error(self) -> RbeeError | None:
        last = self.log.last
        return from_failed(last) if isinstance(last, Failed) else None

    def advance(self, update: Update, now: float) -> bool:
        """Take an update in; True when every choice is complete."""
        choice = self.choices[update.choice]
        if choice.finish is not None:  # what came while it was being cut
            return False
        self.first = self.first or now
        if update.choice == 0:
            self.cached = update.cached
        self._tell_prompt(update.prompt)
        choice.total += len(update.tokens)
        choice.ids += update.tokens
        choice.logprobs += update.logprobs or ()
        choice.finish, choice.stop = update.finish, update.stop
        event = _token_event(choice, update)
        if event is not None:
            self._tell(event)
        if choice.reader.complete:
            choice.finish = "tool_calls"
            if update.finish is None:
                self.cut(update.choice)
        return self.complete

    @property
    def complete(self) -> bool:
        """Whether every choice has ended."""
        return all(choice.finish for choice in self.choices)

    def written(self, number: int) -> list[Written]:
        """What each choice had said before event `number`, which the log must hold or come to."""
        begins: dict[int, int] = {}
        for event in (*self.log.since(number), *self._held):
            if isinstance(event, Token):
                begins.setdefault(event.choice, event.index)
        return [
            Written(c.said[: begins[i]]) if i in begins else Written(list(c.said), c.finish, c.stop)
            for i, c in enumerate(self.choices)
        ]

    def begun(self, worker_id: str, sha256: str, number: int, *, whole: bool) -> Begun:
        """What a queen is told before event `number`; `whole`: she does not know the request."""
        return Begun(
            worker_id=worker_id,
            sha256=sha256,
            infer=self.infer if whole else None,
            prompt_ids=self.prompt_ids,
            written=self.written(number) if whole else [],
            first=number,
            migrations=self.migrations,
            tries=self.tries,
        )

    def _tell_prompt(self, scored: Prompt | None) -> None:
        """Once, when it is known: with its score, where that was asked for."""
        if self._prompt is not None and (scored is not None or not self._scored):
            if scored is not None and self._scored:
                self._prompt.logprobs = scored.logprobs
            self.log.append(self._prompt, *self._held)
            self._prompt = None

    def _tell(self, event: AnyEvent) -> None:
        if self._prompt is not None:
            self._held.append(event)
        else:
            self.log.append(event)

    def done(self, now: float, worker_id: str, model: str, sha256: str) -> Done:
        """The last event of a complete answer."""
        reasons: list[FinishReason] = [_reason(c) for c in self.choices]
        return Done(
            finish_reason=reasons[0],
            finish_reasons=reasons,
            usage=Usage(
                self.prompt_tokens,
                sum(c.total for c in self.choices),
                min(self.cached, self.prompt_tokens),
                sum(c.thought for c in self.choices),
            ),
            timings=_timings(self, now),
            worker_id=worker_id,
            model=model,
            sha256=sha256,
            stops=[c.stop for c in self.choices],
            migrations=self.migrations,
        )


def _state_of(begun: Replayed) -> _ChoiceState:
    return _ChoiceState(
        begun.reader,
        list(begun.ids),
        len(begun.ids),
        thought=begun.thought,
        finish=begun.finish,
        stop=begun.stop,
    )


def _token_event(choice: _ChoiceState, update: Update) -> Token | None:
    """An event as soon as there is something certain to say."""
    said = choice.reader.feed(update.text, final=update.finish is not None)
    if choice.reader.thinking:
        choice.thought += len(update.tokens)
    certain = said.text or said.reasoning or said.calls
    if not certain and not (update.finish and choice.ids):
        return None
    event = Token(
        index=len(choice.said),
        text=said.text,
        token_ids=choice.ids,
        choice=update.choice,
        logprobs=choice.logprobs or None,
        tool_calls=said.calls or None,
        reasoning=said.reasoning,
        finish=_reason(choice) if choice.finish or choice.reader.complete else None,
        stop=choice.stop,
    )
    choice.said += choice.ids
    choice.ids, choice.logprobs = [], []
    return event


def _reason(choice: _ChoiceState) -> FinishReason:
    if choice.reader.complete or (choice.reader.has_called and choice.finish == "stop"):
        return "tool_calls"
    return choice.finish or "stop"


def _timings(ticket: Ticket, now: float) -> Timings:
    admitted = ticket.admitted or now
    first = ticket.first or now
    total = sum(c.total for c in ticket.choices) - ticket._before
    decode_s = now - first
    return Timings(
        queued_ms=round((admitted - ticket.arrived) * 1000, 3),
        prompt_ms=round((first - admitted) * 1000, 3),
        decode_ms=round(decode_s * 1000, 3),
        tokens_per_s=round((total - 1) / decode_s, 2) if decode_s > 0 and total > 1 else 0.0,
    )


async def whole(ticket: Ticket) -> InferAnswer:
    """Wait for the end; the answer in one piece. Raises what the stream would end with."""
    cursor, fold = 0, Fold(ticket.infer.n)
    while not (ticket.log.ended and cursor >= ticket.log.total):
        await ticket.log.wait(cursor)
        events = ticket.log.since(cursor)
        cursor += len(events)
        fold.add(events)
    if ticket.error is not None:
        raise ticket.error
    last = ticket.log.last
    assert isinstance(last, Done)
    return fold.answer(ticket.id, last)
