"""The waiting line: tickets by admission, priority, arrival. Knows neither the fleet nor the clock.

Those who need the same stand in one `Queue`, so that one decision serves all of them; those who
want the same model share a `Lane`, by which positions are counted. Whoever joins or leaves costs
the logarithm of the line's length, never the length.
"""

from __future__ import annotations

import bisect
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import anyio

from rbee.contracts.events import AnyEvent
from rbee.errors import RbeeError
from rbee.queen.errands import Errand, Kind
from rbee.queen.lease import Lease
from rbee.queen.scheduler import Need, Why

MAX_GONE = 8
"""A second apart: by then the fleet knows who is silent."""
Report = Callable[[AnyEvent], None]


@dataclass(eq=False)
class Ticket:
    """One request that waits for a slot. It ends with a `lease` or an `error`, never both."""

    number: int
    need: Need
    priority: int
    report: Report
    arrived: float
    position: int = -1
    """What the client was told."""
    errand: Errand | None = None
    """Whose progress it is told."""
    lease: Lease | None = None
    error: RbeeError | None = None
    settled: anyio.Event = field(default_factory=anyio.Event)

    @property
    def order(self) -> tuple[bool, int, int]:
        """Who was admitted before, and lost its worker, goes first."""
        return not self.need.again, -self.priority, self.number

    def grant(self, lease: Lease) -> None:
        self.lease = lease
        self.settled.set()

    def fail(self, error: RbeeError) -> None:
        self.error = error
        self.settled.set()


def _order(ticket: Ticket) -> tuple[bool, int, int]:
    return ticket.order


class _Sorted:
    """Tickets in the order in which they are served."""

    def __init__(self) -> None:
        self._tickets: list[Ticket] = []

    def __len__(self) -> int:
        return len(self._tickets)

    def __iter__(self) -> Iterator[Ticket]:
        """Over a copy, so that tickets may leave meanwhile."""
        return iter(list(self._tickets))

    @property
    def first(self) -> Ticket:
        return self._tickets[0]

    def position(self, ticket: Ticket) -> int:
        """How many are ahead of it, whether it has joined or not."""
        return bisect.bisect_left(self._tickets, ticket.order, key=_order)

    def join(self, ticket: Ticket) -> None:
        self._tickets.insert(self.position(ticket), ticket)

    def leave(self, ticket: Ticket) -> None:
        del self._tickets[self.position(ticket)]


class Queue(_Sorted):
    """Those who need the same. What they wait for, they wait for together."""

    def __init__(self, need: Need, lane: Lane, now: float) -> None:
        super().__init__()
        self.need = need
        self.lane = lane
        self.why: Why = "settling"
        self.since = now
        """When the present reason to wait began."""
        self.errand: Errand | None = None
        self.tried: dict[Kind, int] = {}
        """What was begun for them, and the number of the next ticket then. As long as one from
        before waits, it is not begun again."""
        self.gone = 0
        """Errands that failed for a hive was not there."""
        self._arrivals: OrderedDict[int, Ticket] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Queue {len(self)} for {self.need.model} {self.why}>"

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket.number in self._arrivals

    @property
    def oldest(self) -> Ticket:
        return next(iter(self._arrivals.values()))

    def join(self, ticket: Ticket) -> None:
        super().join(ticket)
        self._arrivals[ticket.number] = ticket
        if self.errand is not None:
            _watch(ticket, self.errand)

    def leave(self, ticket: Ticket) -> None:
        super().leave(ticket)
        del self._arrivals[ticket.number]

    def share(self, errand: Errand, next_number: int) -> None:
        """All who wait here share the errand's progress and its failure."""
        self.errand = errand
        self.tried[errand.kind] = next_number
        for ticket in self:
            _watch(ticket, errand)

    def forgets(self, errand: Errand) -> bool:
        """Whether what failed is begun again, elsewhere or later: its hive was not there."""
        if not errand.gone or self.gone >= MAX_GONE:
            return False
        self.gone += 1
        self.errand = None
        self.tried.pop(errand.kind, None)
        return True

    def may_try(self, kind: Kind) -> bool:
        return self.oldest.number >= self.tried.get(kind, 0)

    def waits(self, why: Why, now: float) -> None:
        if self.why != why:
            self.why, self.since = why, now


class Lane(_Sorted):
    """Those who want the same model, whatever else they need."""

    def __init__(self, model: str, now: float) -> None:
        super().__init__()
        self.model = model
        self.moved = now
        """When one of them was last served."""
        self.tell_at = now
        """When they are told their positions again."""


class Line:
    """All who wait."""

    def __init__(self) -> None:
        self.queues: dict[Need, Queue] = {}
        self.lanes: dict[str, Lane] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, ticket: Ticket) -> bool:
        queue = self.queues.get(ticket.need)
        return queue is not None and ticket in queue

    def join(self, ticket: Ticket, now: float) -> Queue:
        model = ticket.need.model
        lane = self.lanes.setdefault(model, Lane(model, now))
        queue = self.queues.setdefault(ticket.need, Queue(ticket.need, lane, now))
        lane.join(ticket)
        queue.join(ticket)
        self._size += 1
        return queue

    def leave(self, ticket: Ticket) -> None:
        queue = self.queues[ticket.need]
        queue.leave(ticket)
        queue.lane.leave(ticket)
        self._size -= 1
        if not queue:
            del self.queues[ticket.need]
        if not queue.lane:
            del self.lanes[queue.lane.model]
        if ticket.errand is not None:
            ticket.errand.watchers.pop(ticket.number, None)
            ticket.errand = None


def _watch(ticket: Ticket, errand: Errand) -> None:
    ticket.errand = errand
    errand.watch(ticket.number, ticket.report)
