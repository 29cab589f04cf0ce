"""The waiting line and the leases: the single writer of both.

1. A request takes a ticket; when the scheduler finds it a worker at once, it never waits.
2. Whenever something changes (a beat, a lease given back, an errand ended, a tick of the clock) the
   line is gone through in order: priority first, then arrival. One that cannot be served does not
   hold up those behind it who want something else.
3. What the scheduler wants done (spawn, download) is an errand; a request begins each kind once.
4. Every wait ends: in a slot, an error, or `Late`. The line is bounded; one more is `Overloaded`.

Always: *waiting + leased + done = arrived*, and on every worker *free + held = slots*.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from rbee.contracts.events import Queued
from rbee.contracts.fleet import QueueStatus, WorkerBeat
from rbee.errors import Overloaded, RbeeError, Unavailable
from rbee.queen.errands import Errand, Errands, Kind
from rbee.queen.fleet import Seat, seat
from rbee.queen.line import Line, Report, Ticket, late
from rbee.queen.pace import Pace
from rbee.queen.registry import Registry
from rbee.queen.scheduler import (
    Assign,
    Decision,
    Download,
    Need,
    Refuse,
    Spawn,
    Wait,
    Why,
    choose,
)
from rbee.wire.problems import failed, from_failed

SILENT_LIMIT_S = 15.0
"""How long to wait for the heartbeat of a worker that its hive says is there."""


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
        self._limits: dict[Why, float] = {
            "busy": wait_limit_s,
            "settling": wait_limit_s,
            "starting": spawn_limit_s,
            "silent": min(SILENT_LIMIT_S, wait_limit_s),
        }
        self._clock = clock
        self._line = Line()
        self._leased: Counter[Seat] = Counter()
        self._arrived = 0
        self._done = 0
        self._pace = Pace()
        self._closing = False
        errands.changed = self.pump

    def __repr__(self) -> str:
        view = self.view()
        return f"<Dispatch {view.waiting} waiting, {view.leased} leased, {view.done} done>"

    def view(self) -> QueueStatus:
        leased = self._leased.total()
        return QueueStatus(len(self._line), leased, self._done, self._arrived, self._limit)

    def leased_on(self, worker: WorkerBeat) -> int:
        return self._leased.get(seat(worker), 0)

    @asynccontextmanager
    async def lease(
        self, need: Need, report: Report, priority: int = 0
    ) -> AsyncIterator[WorkerBeat]:
        """A slot on a worker that fits `need`, for as long as the context is open.

        Raises what the scheduler refuses with, a failed errand's reason, `Overloaded` when the
        line is full, `Late` when no slot came in time.
        """
        worker = await self._obtain(need, report, priority)
        began = self._clock()
        try:
            yield worker
        finally:
            self._give_back(worker, began)

    async def _obtain(self, need: Need, report: Report, priority: int) -> WorkerBeat:
        now = self._clock()
        ticket = Ticket(self._arrived, need, priority, report, arrived=now, since=now)
        self._arrived += 1
        self._line.join(ticket)
        try:
            self._admit(ticket, now)
            if not ticket.settled.is_set():
                await ticket.settled.wait()
        except BaseException:
            if ticket.worker is not None:
                self._give_back(ticket.worker, now)
            elif ticket.error is None:
                self._leave(ticket)
            raise
        if ticket.worker is None:
            raise ticket.error or Unavailable("The queen lost a ticket.")
        return ticket.worker

    def _admit(self, ticket: Ticket, now: float) -> None:
        """Serve the newcomer at once if nobody before it wants the same; else it waits."""
        if self._closing:
            raise Overloaded("The queen is shutting down.", retry_after_s=2.0)
        decision = self._choose(ticket.need, now)
        if isinstance(decision, Assign) and self._is_behind(ticket):
            decision = Wait("busy")
        if len(self._line) > self._limit and not isinstance(decision, Assign | Refuse):
            raise Overloaded(
                f"{self._limit} requests are waiting already.",
                hint="try again later, or start more workers",
                retry_after_s=self._eta_s(self._limit) or 5.0,
            )
        self._obey(ticket, decision, now)
        if ticket in self._line:
            self._tell_positions()

    def _is_behind(self, ticket: Ticket) -> bool:
        return any(t.need == ticket.need and t.order < ticket.order for t in self._line)

    def pump(self) -> None:
        """Go through the line once."""
        if not self._line and not self._errands:
            return
        now = self._clock()
        self._errands.tidy(self._registry.view(now), now)
        decided: dict[Need, Decision] = {}
        for ticket in self._line:
            decision = decided.get(ticket.need)
            if decision is None or isinstance(decision, Assign):
                decision = decided[ticket.need] = self._choose(ticket.need, now)
            self._obey(ticket, decision, now)
        self._tell_positions()

    def close(self) -> None:
        """Nobody is admitted any more; those who wait are told."""
        self._closing = True
        for ticket in self._line:
            self._fail(ticket, Overloaded("The queen is shutting down.", retry_after_s=2.0))

    def _choose(self, need: Need, now: float) -> Decision:
        return choose(need, self._registry.view(now), self._leased)

    def _obey(self, ticket: Ticket, decision: Decision, now: float) -> None:
        if self._errand_failed(ticket, now):
            return
        match decision:
            case Assign(worker):
                self._leased[seat(worker)] += 1
                self._line.leave(ticket)
                ticket.grant(worker)
            case Refuse(error):
                self._fail(ticket, _own(error))
            case Spawn() | Download():
                self._send(ticket, decision, now)
            case Wait(why, model, hive_id):
                if why == "starting" and ticket.errand is None:
                    self._join(ticket, self._errands.running(model, hive_id))
                self._wait(ticket, why, now)

    def _send(self, ticket: Ticket, wanted: Spawn | Download, now: float) -> None:
        kind: Kind = "spawn" if isinstance(wanted, Spawn) else "download"
        if ticket.errand is not None and ticket.errand.ended is None:
            self._wait(ticket, "starting", now)
        elif kind in ticket.tried:
            self._wait(ticket, "silent", now)
        else:
            self._join(ticket, self._errands.ensure(wanted))
            self._wait(ticket, "starting", now)

    def _join(self, ticket: Ticket, errand: Errand | None) -> None:
        """The ticket shares the errand's progress and its failure."""
        if errand is not None:
            ticket.tried.add(errand.kind)
            ticket.errand = errand
            errand.watch(ticket.number, ticket.report)

    def _errand_failed(self, ticket: Ticket, now: float) -> bool:
        """End the ticket when what it waited for has failed."""
        errand = ticket.errand
        if errand is None or errand.ended is None:
            return False
        if errand.error is not None:
            self._fail(ticket, _own(errand.error))
            return True
        return False

    def _wait(self, ticket: Ticket, why: Why, now: float) -> None:
        if ticket.why != why:
            ticket.why, ticket.since = why, now
        limit = self._limits[why]
        if now - ticket.since >= limit or now - ticket.arrived >= sum(self._limits.values()):
            self._fail(ticket, late(ticket, why, limit))

    def _fail(self, ticket: Ticket, error: RbeeError) -> None:
        ticket.fail(error)
        self._leave(ticket)

    def _leave(self, ticket: Ticket) -> None:
        """The ticket ends without a lease."""
        self._line.leave(ticket)
        self._done += 1

    def _give_back(self, worker: WorkerBeat, began: float) -> None:
        place = seat(worker)
        self._leased[place] -= 1
        if self._leased[place] <= 0:
            del self._leased[place]
        self._done += 1
        self._pace.took(self._clock() - began)
        if self._line:
            self.pump()

    def _tell_positions(self) -> None:
        """Tell those who wait for a slot how many of their kind are ahead, when that changed."""
        ahead: Counter[str] = Counter()
        for ticket in self._line:
            position = ahead[ticket.need.model]
            ahead[ticket.need.model] += 1
            if ticket.why == "busy" and ticket.position != position:
                ticket.position = position
                ticket.report(Queued(position=position, eta_s=self._eta_s(position)))

    def _eta_s(self, position: int) -> float | None:
        return self._pace.eta_s(position, self._leased.total())


def _own(error: RbeeError) -> RbeeError:
    """A copy: one exception raised in several tasks would collect all their tracebacks."""
    return from_failed(failed(error))
