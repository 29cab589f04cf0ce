"""Sees one answer through: a lease, the relay, and again while `attempts` allows it."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import anyio

from rbee.contracts.chat import ImagePart
from rbee.contracts.events import Done, Moved
from rbee.contracts.fleet import WorkerBeat
from rbee.contracts.operations import Infer
from rbee.errors import Overloaded, WorkerGone
from rbee.queen.attempts import Attempts
from rbee.queen.budget import Budget
from rbee.queen.dispatch import Dispatch
from rbee.queen.lease import Lease
from rbee.queen.metrics import Metrics
from rbee.queen.quarantine import Quarantine
from rbee.queen.relay import Relay
from rbee.queen.scheduler import Need
from rbee.wire.jobs import Job


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
        attempts = Attempts(infer, self._quarantine, self._budget, time.monotonic())
        while True:
            attempts.check(time.monotonic())
            where = self._lease(relay, infer, job, ends, attempts, writing)
            ended = await self._attempt(relay, where, ends, attach=writing is not None)
            if isinstance(ended, Done):
                attempts.over(time.monotonic())
                return ended
            writing = None
            await self._go_on(relay, job, attempts, ended)

    def _lease(
        self,
        relay: Relay,
        infer: Infer,
        job: Job,
        ends: float | None,
        attempts: Attempts,
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
            suspect=attempts.suspect,
            again=attempts.again,
        )

    async def _attempt(
        self,
        relay: Relay,
        where: AbstractAsyncContextManager[Lease],
        ends: float | None,
        *,
        attach: bool,
    ) -> Done | Lease:
        """The end of the answer, or a lease that was lost or declined."""
        async with where as lease:
            worker = lease.worker
            relay.meet(worker, lease.progressed, trial=lease.on_trial)
            with lease.scope:
                try:
                    writing = relay.attach(worker) if attach else relay.run(worker, _left_ms(ends))
                    return await self._unless_unwanted(writing, relay, lease)
                except WorkerGone as exc:
                    self._dispatch.broke(lease, exc.message, crash=relay.reached)
                except Overloaded:
                    self._dispatch.declined(lease)
            return lease

    async def _unless_unwanted(self, writing: Awaitable[Done], relay: Relay, lease: Lease) -> Done:
        """When the client leaves, or the deadline passes, the worker is told: its slot is free."""
        try:
            return await writing
        except anyio.get_cancelled_exc_class():
            if not lease.lost and not self.leaving:
                await relay.cancel(lease.worker)
            raise

    async def _go_on(self, relay: Relay, job: Job, attempts: Attempts, ended: Lease) -> None:
        """Return when the next attempt may be made. Raises when there shall be none."""
        now, chance = time.monotonic(), random.random()
        if ended.declined:
            pause = attempts.declined(now, chance)
        else:
            verdict = await self._dispatch.verdict(ended)
            if verdict == "poison":
                self._metrics.quarantined()
            pause = attempts.lost(ended, verdict, relay.begun, now, chance)
        if relay.begun and not ended.declined:
            self._tell_moved(relay, job, ended)
        elif not relay.begun:
            self._metrics.retried()
        await anyio.sleep(pause)

    def _tell_moved(self, relay: Relay, job: Job, ended: Lease) -> None:
        relay.migrations += 1
        job.migrations += 1
        self._metrics.migrated()
        job.emit(Moved(worker_id=ended.worker.id, why=ended.lost, migrations=job.migrations))


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
