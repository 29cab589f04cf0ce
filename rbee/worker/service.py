"""Requests become sequences, updates become events. In the event loop; the engine's only client.

1. Everything that can be refused is refused before the engine hears of it.
2. Each request has an event log; `Ticket.cancel` frees its slots, however often it is called.
3. Everything is bounded: whoever comes when the slots and the line are full is answered 429.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial

from anyio.to_thread import run_sync

from rbee.contracts.events import Queued
from rbee.contracts.operations import Infer
from rbee.contracts.worker_api import (
    ApplyTemplate,
    Detokenize,
    Embed,
    Rank,
    Ranks,
    Rendered,
    Resume,
    Text,
    Tokenize,
    Tokens,
    Vectors,
)
from rbee.errors import (
    Cancelled,
    Late,
    RbeeError,
    WorkerGone,
)
from rbee.wire.replies import failed
from rbee.worker.answers import Answers
from rbee.worker.door import Door
from rbee.worker.engine.commands import Cancel, Pause, Proceed, Start
from rbee.worker.engine.engine import Engine
from rbee.worker.engine.writer import Update
from rbee.worker.pooled import Pooled
from rbee.worker.prepare import LoadedModel
from rbee.worker.ticket import Ticket, nothing
from rbee.worker.writers import understood, writer_of

log = logging.getLogger(__name__)


class Service:
    """One model's requests. `poke` is called when what a heartbeat would say has changed."""

    def __init__(self, model: LoadedModel, worker_id: str, queue_limit: int) -> None:
        self.model = model
        self.worker_id = worker_id
        self._tickets: dict[str, Ticket] = {}
        self.door = Door(model, queue_limit, lambda: len(self._tickets))
        self._loop = asyncio.get_running_loop()
        self._engine: Engine | None = None
        self._pooled = Pooled(model, lambda command: self.engine.send(command))
        self.poke: Callable[[], None] = lambda: None
        self.answers = Answers(lambda: self.poke())
        self.tokens_out = 0
        self.tokens_in = 0
        self.tokens_cached = 0
        self.requests = 0

    def __repr__(self) -> str:
        return f"<Service {self.worker_id} {len(self._tickets)} requests, {self._engine!r}>"

    def attach(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            raise WorkerGone("The engine is not running.")
        return self._engine

    @property
    def jobs(self) -> list[str]:
        """Whose answers are being written."""
        return [ticket.id for ticket in self._tickets.values()]

    @property
    def kept(self) -> list[str]:
        """Whose answers have ended and may still be attached to."""
        return self.answers.ended

    def publish(self, updates: list[Update]) -> None:
        """For the engine thread: one crossing a step."""
        self._loop.call_soon_threadsafe(self._deliver, updates)

    async def begin(
        self, infer: Infer, job_id: str = "", resume: Resume | None = None, *, wait: bool = False
    ) -> Ticket:
        """Check a request and hand it to the engine. Raises before anything has happened. `resume`:
        another worker has begun the answer. `wait`: nothing is computed before `Ticket.go`."""
        with self.door.entered(infer.model):
            limiter = self.door.limiter(infer.messages)
            make = partial(understood, self.model, infer, resume)
            prepared, begun = await run_sync(make, limiter=limiter)
        self.door.check_open()
        key = secrets.token_hex(8)
        ticket = Ticket(
            infer,
            prepared,
            begun,
            job_id,
            cancel=lambda: self._cancel(key),
            cut=lambda choice: self.engine.send(Cancel(key, choice)),
            resume=resume,
        )
        starts = [
            Start(writer_of(self.model, key, choice, infer, prepared, begun[choice]))
            for choice, state in enumerate(ticket.choices)
            if state.finish is None
        ]
        self._tickets[key] = ticket
        self.requests += 1
        self.tokens_in += ticket.prompt_tokens
        if infer.deadline_ms is not None:
            late = Late(f"The answer was not complete after {infer.deadline_ms} ms.")
            ticket.deadline = self._loop.call_later(infer.deadline_ms / 1000, self._fail, key, late)
        ahead = self.engine.waiting
        if self.engine.busy >= self.model.slots:
            ticket.log.append(Queued(position=ahead))
        ticket.go = partial(self._go, key, starts)
        ticket.log.on_lag = partial(self._pause, key)
        if not wait:
            ticket.go()
        self.poke()
        return ticket

    def _pause(self, key: str, lagging: bool) -> None:
        """Nothing is computed while the answer's slowest reader is far behind."""
        if key in self._tickets:
            self.engine.send(Pause(key) if lagging else Proceed(key))

    def _go(self, key: str, starts: Sequence[Start]) -> None:
        ticket = self._tickets.get(key)
        if ticket is None:  # cancelled meanwhile
            return
        ticket.go = nothing
        for start in starts:
            self.engine.send(start)
        if ticket.complete:  # all was said, but for the end
            self._finish(key, ticket, time.monotonic())

    async def embed(self, request: Embed) -> Vectors:
        with self.door.entered(request.model):
            return await self._pooled.embed(request)

    async def rank(self, request: Rank) -> Ranks:
        with self.door.entered(request.model):
            return await self._pooled.rank(request)

    async def tokenize(self, request: Tokenize) -> Tokens:
        self.door.check_model(request.model)
        limiter = self.door.limiter(request.messages)
        ids = await run_sync(self.model.tokenize, request, limiter=limiter)
        return Tokens(self.model.id, ids, len(ids))

    async def apply_template(self, request: ApplyTemplate) -> Rendered:
        self.door.check_model(request.model)
        return Rendered(self.model.id, await run_sync(self.model.apply_template, request))

    async def detokenize(self, request: Detokenize) -> Text:
        self.door.check_model(request.model)
        return Text(self.model.id, await run_sync(self.model.detokenize, request.tokens))

    def close(self, reason: str) -> None:
        """End every request and take no more: the worker stops, or its engine has died."""
        self.door.close(reason)
        self.answers.close()
        for key in list(self._tickets):
            self._fail(key, WorkerGone(reason))

    def _cancel(self, key: str) -> None:
        if key in self._tickets:
            self._fail(key, Cancelled("The request was cancelled."))

    def _fail(self, key: str, error: RbeeError) -> None:
        ticket = self._tickets.pop(key, None)
        if ticket is None:
            return
        if self._engine is not None:
            self._engine.send(Cancel(key))
        ticket.log.append(failed(error))
        self._release(ticket)

    def _finish(self, key: str, ticket: Ticket, now: float) -> None:
        del self._tickets[key]
        self.tokens_cached += ticket.cached
        model = self.model
        ticket.log.append(ticket.done(now, self.worker_id, model.id, model.sha256))
        self._release(ticket)

    def _release(self, ticket: Ticket) -> None:
        ticket.go = nothing  # it would keep all that the computing needed
        if ticket.deadline is not None:
            ticket.deadline.cancel()
        self.door.left()
        self.poke()

    def _deliver(self, updates: list[Update]) -> None:
        """In the event loop: updates become events, one wake-up for each request's readers."""
        now = time.monotonic()
        for update in updates:
            ticket = self._tickets.get(update.request)
            if ticket is not None:
                try:
                    self._apply(update, ticket, now)
                except Exception as exc:  # one request's trouble; the step's others go on
                    log.exception("an update of %s could not be told", ticket.id)
                    self._fail(update.request, RbeeError(f"{type(exc).__name__} inside rbee."))
            elif update.finish == "cancelled":
                self.poke()

    def _apply(self, update: Update, ticket: Ticket, now: float) -> None:
        if update.error is not None:
            self._fail(update.request, update.error)
        elif update.admitted is not None:
            ticket.admitted = ticket.admitted or update.admitted
            self.poke()
        else:
            self.tokens_out += len(update.tokens)
            if ticket.advance(update, now):
                self._finish(update.request, ticket, now)
