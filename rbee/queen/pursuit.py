"""Sees one answer through: a lease, the relay, and again while `attempts` allows it.

1. An answer that was begun goes on elsewhere. While nobody can go on with it (its hive is being
   started again, its model loaded, all are full) it waits for `patience_s`.
2. One that had not said anything fails with what the dispatch says.
3. When the client leaves, the worker is told so. When this queen ends it is not: the next one will
   attach to what it writes. Nor when another queen had asked this worker for the answer, and may
   be reading it, unless its cancelling was asked for. A client that attaches again may have gone to
   another queen: its answer ends if nobody reads it there.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace

import anyio

from rbee.contracts.chat import ImagePart
from rbee.contracts.events import Done, Moved
from rbee.contracts.fleet import WorkerBeat
from rbee.contracts.operations import Infer
from rbee.errors import BadRequest, Draining, Overloaded, RbeeError, WorkerGone
from rbee.queen.attempts import Attempts
from rbee.queen.budget import pause_s
from rbee.queen.dispatch import Dispatch
from rbee.queen.lease import Lease
from rbee.queen.metrics import Metrics
from rbee.queen.relay import Relay
from rbee.queen.retries import Retries
from rbee.queen.scheduler import Need
from rbee.wire.jobs import Job


class Pursuit:
    """Of all answers; owns nothing but whether the queen ends. Times come from `clock`, which is
    monotonic."""

    def __init__(
        self,
        dispatch: Dispatch,
        retries: Retries,
        metrics: Metrics,
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dispatch = dispatch
        self.clock = clock
        self.retries = retries
        self.metrics = metrics
        self.patience_s = patience_s
        self.leaving = False
        """This queen ends."""

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
        attempts = self.retries.begin(infer)
        return await _Chase(self, relay, infer, job, ends, attempts, own=writing is None).run(
            writing
        )


@dataclass(eq=False)
class _Chase:
    """One answer's."""

    of: Pursuit
    relay: Relay
    infer: Infer
    job: Job
    ends: float | None
    attempts: Attempts
    own: bool
    """The present worker was asked by this queen, and by no other before."""
    gives_up: float | None = None
    """When an answer that was begun is given up, unless a worker has it by then."""

    async def run(self, writing: WorkerBeat | None) -> Done:
        while True:
            self.of.retries.check(self.attempts)
            async with AsyncExitStack() as held:
                if writing is not None:
                    lease = await held.enter_async_context(self.of.dispatch.hold(writing))
                else:
                    lease = await self._leased(held)
                done = await self._attempt(lease, attach=writing is not None)
            if done is not None:
                self.of.retries.over(self.attempts)
                return done
            writing, self.own = None, True
            await self._go_on(lease)

    async def _leased(self, held: AsyncExitStack) -> Lease:
        """A worker; for an answer that was begun, as soon as there is one again."""
        tries = 0
        while True:
            try:
                return await held.enter_async_context(self._lease())
            except RbeeError as exc:
                if not self.relay.begun or isinstance(exc, BadRequest):
                    raise
                if self._is_given_up():
                    raise WorkerGone(
                        f"Its worker was lost, and none can go on: {exc.message}", hint=exc.hint
                    ) from exc
            tries += 1
            await anyio.sleep(pause_s(tries, random.random()))

    def _is_given_up(self) -> bool:
        """Whether an answer that was begun has been without a worker for too long."""
        return self.gives_up is not None and self.of.clock() >= self.gives_up

    def _lease(self) -> AbstractAsyncContextManager[Lease]:
        need = replace(need_of(self.infer), declined_by=self.attempts.declined_by)
        if self.relay.begun:
            need = replace(need, sha256=self.relay.sha256, context=self.relay.length + 1)
        return self.of.dispatch.lease(
            need,
            self.relay.report,
            self.infer.priority,
            deadline_s=None if self.ends is None else max(0.0, self.ends - self.of.clock()),
            suspect=self.attempts.suspect,
            again=self.attempts.again,
        )

    async def _attempt(self, lease: Lease, *, attach: bool) -> Done | None:
        """The end of the answer; None when the lease was lost, or declined."""
        relay, worker = self.relay, lease.worker
        relay.meet(worker, lease.progressed, trial=lease.on_trial)
        with lease.scope:
            try:
                writing = relay.attach(worker) if attach else relay.run(worker, self._left_ms())
                return await self._unless_unwanted(writing, lease)
            except WorkerGone as exc:
                self._broke(lease, exc.message)
            except (Overloaded, Draining):
                self.of.dispatch.leases.declined(lease)
        return None

    def _broke(self, lease: Lease, why: str) -> None:
        if self.relay.parted:
            self.of.dispatch.leases.parted(lease, why)
        else:
            self.of.dispatch.leases.broke(lease, why, crash=self.relay.reached)

    async def _unless_unwanted(self, writing: Awaitable[Done], lease: Lease) -> Done:
        """When the client leaves, or the deadline passes, the worker is told: its slot is free."""
        try:
            return await writing
        except anyio.get_cancelled_exc_class():
            job = self.job
            if (self.own or job.revoked) and not lease.lost and not self.of.leaving:
                unread = job.grace_s > 0 and not job.revoked
                await self.relay.cancel(lease.worker, unread=unread)
            raise

    async def _go_on(self, ended: Lease) -> None:
        """Return when the next attempt may be made. Raises when there shall be none."""
        begun, reached = self.relay.begun, self.relay.reached
        pause = await self.of.retries.after(self.attempts, ended, begun=begun, reached=reached)
        if reached or self.gives_up is None:
            self.gives_up = self.of.clock() + self.of.patience_s
        if begun and ended.declined and self._is_given_up():
            raise WorkerGone("Its worker was lost, and none of the others has room for it.")
        if begun and not ended.declined and reached:  # else nobody had gone on with it
            self._tell_moved(ended)
        await anyio.sleep(pause)

    def _tell_moved(self, ended: Lease) -> None:
        self.relay.migrations += 1
        self.job.migrations += 1
        self.of.metrics.migrated()
        moves = self.job.migrations
        self.relay.report(Moved(worker_id=ended.worker.id, why=ended.lost, migrations=moves))

    def _left_ms(self) -> int | None:
        return None if self.ends is None else max(1, int((self.ends - self.of.clock()) * 1_000))


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
