"""Sees one answer through: a lease, the relay, and what `course` says when that was not enough."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

import anyio

from rbee.contracts.chat import ImagePart
from rbee.contracts.events import Done, Moved
from rbee.contracts.fleet import WorkerBeat
from rbee.contracts.operations import Infer
from rbee.errors import Overloaded, RbeeError, WorkerGone
from rbee.queen.budget import Budget, pause_s
from rbee.queen.course import Course, How
from rbee.queen.dispatch import Dispatch
from rbee.queen.lease import Lease
from rbee.queen.metrics import Metrics
from rbee.queen.quarantine import Quarantine, fingerprint
from rbee.queen.relay import Relay
from rbee.queen.scheduler import Need
from rbee.wire.jobs import Job


@dataclass(frozen=True)
class Failure:
    """How an attempt ended that did not end the answer."""

    how: How
    error: RbeeError
    worker: WorkerBeat
    progressed: bool


class Pursuit:
    """Owns the memory of poisonous requests and the budget of retries."""

    def __init__(self, dispatch: Dispatch, metrics: Metrics) -> None:
        self._dispatch = dispatch
        self._metrics = metrics
        self._quarantine = Quarantine()
        self._budget = Budget()
        self.leaving = False
        """This queen ends: what is being written is left to its worker, for the next one."""

    async def finish(
        self,
        relay: Relay,
        infer: Infer,
        job: Job,
        ends: float | None,
        writing: WorkerBeat | None = None,
    ) -> Done:
        """The answer's last event. `ends` is the deadline, `writing` the worker that has the answer
        already. Raises what the request itself has deserved, and the last loss when it is given up.
        """
        course, now = Course(), time.monotonic()
        if self._quarantine:
            mark = fingerprint(infer)
            self._quarantine.check(mark, now)
            course.suspect = self._quarantine.suspects(mark, now)
        self._budget.asked(now)
        while True:
            where = self._lease(relay, infer, job, ends, course, writing)
            ended = await self._attempt(relay, where, ends, attach=writing is not None)
            if course.suspect and (isinstance(ended, Done) or ended.progressed):
                self._quarantine.acquit(fingerprint(infer))
            if isinstance(ended, Done):
                return ended
            writing = None
            await self._go_on(relay, infer, job, course, ended)

    def _lease(
        self,
        relay: Relay,
        infer: Infer,
        job: Job,
        ends: float | None,
        course: Course,
        writing: WorkerBeat | None,
    ) -> AbstractAsyncContextManager[Lease]:
        if writing is not None:
            return self._dispatch.hold(writing)
        need = need_of(infer)
        if relay.begun:
            need = replace(need, sha256=relay.sha256, context=relay.length + 1)
        return self._dispatch.lease(
            need,
            job.emit,
            infer.priority,
            deadline_s=None if ends is None else max(0.0, ends - time.monotonic()),
            suspect=course.suspect,
            again=relay.begun or course.attempts > 0,
        )

    async def _attempt(
        self,
        relay: Relay,
        where: AbstractAsyncContextManager[Lease],
        ends: float | None,
        *,
        attach: bool,
    ) -> Done | Failure:
        async with where as lease:
            before, worker = relay.tokens, lease.worker
            relay.meet(worker, lease.progressed)
            error: RbeeError | None = None
            with lease.scope:
                try:
                    writing = relay.attach(worker) if attach else relay.run(worker, _left_ms(ends))
                    return await self._unless_unwanted(writing, relay, lease)
                except WorkerGone as exc:
                    error = exc
                    self._dispatch.broke(lease)
                except Overloaded as exc:
                    error = exc
                    self._dispatch.declined(lease)
            why = error or WorkerGone(f"Worker {worker.id!r} was lost: {lease.lost}.")
            how: How = "busy" if lease.declined else await self._dispatch.verdict(lease)
            return Failure(how, why, worker, relay.tokens > before)

    async def _unless_unwanted(self, writing: Awaitable[Done], relay: Relay, lease: Lease) -> Done:
        """When the client leaves, or the deadline passes, the worker is told: its slot is free."""
        try:
            return await writing
        except anyio.get_cancelled_exc_class():
            if not lease.lost and not self.leaving:
                await relay.cancel(lease.worker)
            raise

    async def _go_on(
        self, relay: Relay, infer: Infer, job: Job, course: Course, ended: Failure
    ) -> None:
        """Return when the next attempt may be made. Raises when there shall be none."""
        now, then = (
            time.monotonic(),
            course.after(ended.how, begun=relay.begun, progressed=ended.progressed),
        )
        if ended.how in ("suspect", "poison"):
            self._accuse(infer, now, convict=then == "convict")
        if then == "give_up":
            raise ended.error
        if then == "retry":
            if not self._budget.may_retry(now):
                raise ended.error
            self._metrics.retried()
        elif ended.how != "busy":
            self._tell_moved(relay, job, ended)
        await anyio.sleep(pause_s(course.attempts - 1, random.random()))

    def _accuse(self, infer: Infer, now: float, *, convict: bool) -> None:
        """Raises `Poisonous` where that is a conviction."""
        mark = fingerprint(infer)
        if convict:
            self._metrics.quarantined()
            self._quarantine.convict(mark, now)
            self._quarantine.check(mark, now)
        self._quarantine.accuse(mark, now)

    def _tell_moved(self, relay: Relay, job: Job, ended: Failure) -> None:
        relay.migrations += 1
        job.migrations += 1
        self._metrics.migrated()
        why = ended.error.message
        job.emit(Moved(worker_id=ended.worker.id, why=why, migrations=job.migrations))


def need_of(infer: Infer) -> Need:
    """What a request asks of the fleet."""
    contents = [message.content for message in infer.messages or ()]
    sees = any(isinstance(p, ImagePart) for c in contents if isinstance(c, list) for p in c)
    return Need(
        infer.model,
        infer.hive_id,
        infer.worker_id,
        infer.device,
        infer.lora,
        sees,
        generates=True,
    )


def _left_ms(ends: float | None) -> int | None:
    return None if ends is None else max(1, int((ends - time.monotonic()) * 1_000))
