"""The waiting line: tickets by priority, then by arrival. Knows neither the fleet nor the clock."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import anyio

from rbee.contracts.events import AnyEvent
from rbee.contracts.fleet import WorkerBeat
from rbee.errors import Late, RbeeError, Unavailable
from rbee.queen.errands import Errand, Kind
from rbee.queen.scheduler import Need, Why

Report = Callable[[AnyEvent], None]


@dataclass(eq=False)
class Ticket:
    """One request that waits for a slot. It ends with a `worker` or an `error`, never both."""

    number: int
    need: Need
    priority: int
    report: Report
    arrived: float
    since: float
    """When the present reason to wait began."""
    why: Why | None = None
    position: int = -1
    """What the client was told."""
    errand: Errand | None = None
    tried: set[Kind] = field(default_factory=set)
    """A request asks for a spawn and for a download once each; the next request may again."""
    worker: WorkerBeat | None = None
    error: RbeeError | None = None
    settled: anyio.Event = field(default_factory=anyio.Event)

    @property
    def order(self) -> tuple[int, int]:
        return -self.priority, self.number

    def grant(self, worker: WorkerBeat) -> None:
        self.worker = worker
        self.settled.set()

    def fail(self, error: RbeeError) -> None:
        self.error = error
        self.settled.set()


class Line:
    """Tickets in the order in which they are served."""

    def __init__(self) -> None:
        self._tickets: list[Ticket] = []

    def __len__(self) -> int:
        return len(self._tickets)

    def __iter__(self) -> Iterator[Ticket]:
        """Over a copy, so that tickets may leave meanwhile."""
        return iter(list(self._tickets))

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket in self._tickets

    def join(self, ticket: Ticket) -> None:
        bisect.insort(self._tickets, ticket, key=lambda t: t.order)

    def leave(self, ticket: Ticket) -> None:
        if ticket in self._tickets:
            self._tickets.remove(ticket)
        if ticket.errand is not None:
            ticket.errand.watchers.pop(ticket.number, None)
            ticket.errand = None


def late(ticket: Ticket, why: Why, limit_s: float) -> RbeeError:
    """What a ticket that has waited too long is told."""
    model, limit = ticket.need.model[:80], f"{limit_s:.0f} s"
    if why == "busy":
        return Late(f"No slot for {model!r} came free within {limit}.", hint="start more workers")
    if why == "silent":
        return Unavailable(
            f"A worker for {model!r} was started, but sends no heartbeat for {limit}.",
            hint="is it started with the right --queen? rbee worker list shows its log",
        )
    return Late(f"No worker for {model!r} was ready within {limit}.")
