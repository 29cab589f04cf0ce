"""The waiting line and the leases: the single writer of both, and long for that reason.

1. A request takes a ticket; when the scheduler finds it a worker at once, it never waits.
2. Whenever something changes (a beat, a lease given back, an errand ended, a tick of the clock)
   the queues are served in the order of their heads: who lost a worker, then priority, then
   arrival. One that cannot be served holds up nobody who needs something else.
3. What the scheduler wants done (spawn, download) is an errand; those who wait share it.
4. Every wait ends: in a slot, an error, or `Late`. The line is bounded, and who would wait too long
   is told at once (`admission`). Who was admitted is not sent away for being slow to reach a slot,
   as long as others of its model are served.

Always: *waiting + leased + done = arrived*, on every worker *free + held = slots*, and at most one
suspect is on trial.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from rbee.contracts.fleet import QueueStatus, WorkerBeat
from rbee.errors import Draining, RbeeError, Unavailable
from rbee.queen.admission import Admission, RefusedWhy
from rbee.queen.errands import Errands, Kind
from rbee.queen.fleet import seat
from rbee.queen.lease import Lease
from rbee.queen.leasing import Leasing
from rbee.queen.line import Line, Queue, Report, Ticket
from rbee.queen.patience import Patience
from rbee.queen.registry import Registry
from rbee.queen.scheduler import (
    Assign,
    Decision,
    Download,
    Need,
    Refuse,
    Spawn,
    Wait,
    choose,
    is_absence,
)
from rbee.wire.problems import failed, from_failed

PUMP_S = 0.2
"""How often the clock alone is reason enough to go through the line."""


class Dispatch:
    """Gives leases; see the module. Times come from `clock`, which is monotonic."""

    def __init__(
        self,
        registry: Registry,
        errands: Errands,
        *,
        queue_limit: int = 256,
        wait_limit_s: float = 300.0,
        spawn_limit_s: float = 3_600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._errands = errands
        self._limit = queue_limit
        self._patience = Patience(wait_limit_s, spawn_limit_s)
        self._clock = clock
        self._line = Line()
        self.leases = Leasing(registry, clock, self.serve)
        """What becomes of those that were given."""
        self._admission = Admission(
            self._line, registry, queue_limit=queue_limit, wait_limit_s=wait_limit_s
        )
        self._arrived = 0
        self._done = 0
        self._due = 0.0
        self._closing = False
        errands.changed = self.serve

    def on_refused(self, told: Callable[[RefusedWhy], None]) -> None:
        """`told` of everybody who is sent away for want of room or time."""
        self._admission.refused = told

    def __repr__(self) -> str:
        view = self.view()
        return f"<Dispatch {view.waiting} waiting, {view.leased} leased, {view.done} done>"

    def view(self) -> QueueStatus:
        waiting, leased = len(self._line), len(self.leases)
        return QueueStatus(waiting, leased, self._done, self._arrived, self._limit)

    def leased_on(self, worker: WorkerBeat) -> int:
        return self.leases.counts.get(seat(worker), 0)

    @asynccontextmanager
    async def lease(
        self,
        need: Need,
        report: Report,
        priority: int = 0,
        *,
        deadline_s: float | None = None,
        suspect: bool = False,
        again: bool = False,
    ) -> AsyncIterator[Lease]:
        """A slot on a worker that fits `need`, for as long as the context is open; see `lease`.

        `suspect`: a worker crashed with this request. `again`: it was admitted before, and goes
        first now, whatever the line's bounds; so does an answer that was begun.
        Raises what the scheduler refuses with, a failed errand's reason, `Overloaded` when the line
        is full or too slow (for `deadline_s`, the seconds left), `Late` when no slot came in time.
        """
        again = again or bool(need.sha256)
        if again or suspect:
            need = replace(need, suspect=suspect, again=again)
        lease = await self._obtain(need, report, priority, deadline_s)
        try:
            yield lease
            if not lease.lost and not lease.declined:
                lease.progressed()
        finally:
            self._give_back(lease)

    @asynccontextmanager
    async def hold(self, worker: WorkerBeat) -> AsyncIterator[Lease]:
        """A lease on a worker that computes for this queen already: an answer that another one had
        asked for. Nobody is asked whether there is room, for the slot is taken."""
        self._arrived += 1
        lease = self.leases.give(worker, self._arrived - 1, False, self._clock())
        try:
            yield lease
        finally:
            self._give_back(lease)

    async def _obtain(
        self, need: Need, report: Report, priority: int, deadline_s: float | None
    ) -> Lease:
        now = self._clock()
        ticket = Ticket(self._arrived, need, priority, report, arrived=now)
        self._arrived += 1
        try:
            self._admit(ticket, deadline_s, now)
            if not ticket.settled.is_set():
                await ticket.settled.wait()
        except BaseException:
            if ticket.lease is not None:
                self._give_back(ticket.lease)
            elif ticket.error is None:
                self._leave(ticket)
            raise
        if ticket.lease is None:
            raise ticket.error or Unavailable("The queen lost a ticket.")
        return ticket.lease

    def _admit(self, ticket: Ticket, deadline_s: float | None, now: float) -> None:
        """Serve the newcomer at once if nobody before it needs the same; else it waits."""
        if self._closing:
            raise Draining("The queen is shutting down.", retry_after_s=2.0)
        queue = self._line.queues.get(ticket.need)
        decision = None if queue is not None else self._choose(ticket.need, now)
        match decision:
            case Assign(worker):
                return self._grant(ticket, worker, now)
            case Refuse(error):
                raise _own(error)
        busy = queue.why == "busy" if queue is not None else decision == Wait("busy")
        self._admission.check(ticket, busy, deadline_s, now)
        queue = self._line.join(ticket, now)
        if decision is not None:
            self._obey(queue, decision, now)
        if ticket in queue and queue.why == "busy":
            self._admission.tell(ticket, queue.lane, now)
        return None

    def pump(self) -> None:
        """Something may have changed. Costs next to nothing when nothing has."""
        now = self._clock()
        if self.leases.compare(now) or now >= self._due:
            self.serve()

    def serve(self) -> None:
        """Go through the line once: the queues whose heads come first are asked about first."""
        now = self._clock()
        self._due = now + PUMP_S
        self._errands.tidy(self._registry.view(now), now)
        for queue in list(self._line.queues.values()):
            self._end_what_is_over(queue, now)
        heads = [(queue.first.order, queue) for queue in self._line.queues.values()]
        heapq.heapify(heads)
        while heads:
            _, queue = heapq.heappop(heads)
            decision = self._choose(queue.need, now)
            if not isinstance(decision, Assign):
                self._obey(queue, decision, now)
                continue
            self._grant(queue.first, decision.worker, now)
            if queue:
                heapq.heappush(heads, (queue.first.order, queue))
        self._admission.tell_all(now)

    def close(self) -> None:
        """Nobody is admitted any more; those who wait are told."""
        self._closing = True
        for queue in list(self._line.queues.values()):
            self._fail_all(queue, Draining("The queen is shutting down.", retry_after_s=2.0))

    def _choose(self, need: Need, now: float) -> Decision:
        barred = self.leases.barred(need.suspect, now)
        return choose(need, self._registry.view(now), self.leases.counts, barred)

    def _grant(self, ticket: Ticket, worker: WorkerBeat, now: float) -> None:
        lease = self.leases.give(worker, ticket.number, ticket.need.suspect, now)
        if ticket in self._line:
            self._line.queues[ticket.need].lane.moved = now
            self._line.leave(ticket)
        ticket.grant(lease)

    def _obey(self, queue: Queue, decision: Decision, now: float) -> None:
        match decision:
            case Refuse(error):
                if is_absence(error) and queue.errand is not None and queue.errand.ended is None:
                    queue.waits("starting", now)  # the hive that is at it is only late
                else:
                    self._fail_all(queue, error)
            case Spawn() | Download():
                self._send(queue, decision, now)
            case Wait(why, model, hive_id):
                if why == "starting" and queue.errand is None:
                    errand = self._errands.running(model, hive_id)
                    if errand is not None:
                        queue.share(errand, self._arrived)
                queue.waits(why, now)
            case Assign():
                raise AssertionError("a slot that is free is granted, not waited for")

    def _send(self, queue: Queue, wanted: Spawn | Download, now: float) -> None:
        kind: Kind = "spawn" if isinstance(wanted, Spawn) else "download"
        if queue.errand is not None and queue.errand.ended is None:
            queue.waits("starting", now)
        elif queue.may_try(kind):
            queue.share(self._errands.ensure(wanted), self._arrived)
            queue.waits("starting", now)
        else:
            queue.waits("silent", now)

    def _end_what_is_over(self, queue: Queue, now: float) -> None:
        """Those whose errand failed are told why, and those who have waited for too long. Where a
        hive went away it is decided anew."""
        errand = queue.errand
        if errand is not None and errand.error is not None and not queue.forgets(errand):
            self._fail_all(queue, errand.error)
        while queue and (error := self._patience.over(queue, now)) is not None:
            self._fail(queue.oldest, error)

    def _fail_all(self, queue: Queue, error: RbeeError) -> None:
        for ticket in queue:
            self._fail(ticket, _own(error))

    def _fail(self, ticket: Ticket, error: RbeeError) -> None:
        ticket.fail(error)
        self._leave(ticket)

    def _leave(self, ticket: Ticket) -> None:
        """The ticket ends without a lease."""
        if ticket in self._line:
            self._line.leave(ticket)
        self._done += 1

    def _give_back(self, lease: Lease) -> None:
        self.leases.give_back(lease)
        self._done += 1
        if not lease.lost and not lease.declined:
            self._admission.took(lease.worker.model, self._clock() - lease.began)
        if self._line:
            self.serve()


def _own(error: RbeeError) -> RbeeError:
    """A copy: one exception raised in several tasks would collect all their tracebacks."""
    return from_failed(failed(error))
