"""A slot that a request holds, and all slots that are held: who is where, who is on trial there.

    async with dispatch.lease(need, report, ...) as lease:
        with lease.scope:                  # cancelled when the worker is lost meanwhile
            ...what is done with lease.worker...
        if lease.lost: ...                 # why; the scope was left early

`Leasing` alone writes here. A lease that was lost stays counted until it is given back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import anyio

from rbee.contracts.fleet import WorkerBeat
from rbee.queen.fleet import Seat, seat

LossKind = Literal["crashed", "wedged", "silent", "ended"]
"""`ended`: it was meant to stop. `silent`: nobody knows; a cable may be out."""


@dataclass(frozen=True)
class Loss:
    """Why a worker cannot be computing any more what it was sent."""

    kind: LossKind
    why: str

    @property
    def crash(self) -> bool:
        """Whether one of the requests may have been the cause."""
        return self.kind in ("crashed", "wedged")


@dataclass(eq=False)
class Lease:
    """One slot of `worker`, held by one request until the context is left."""

    worker: WorkerBeat
    number: int
    began: float
    on_trial: bool = False
    """A suspect, and no token of it has come from this worker yet."""
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """For the caller to enter around what it does with the worker."""
    lost: str = ""
    """Why the worker is lost to this lease; empty while all is well."""
    crash: bool = False
    """Whether one of the worker's requests may have been the cause."""
    worked: bool = False
    """A token came, or the whole answer."""
    declined: bool = False
    """The worker was too busy, or drains."""
    _on_work: Callable[[Lease], None] = field(default=lambda lease: None, repr=False)

    @property
    def seat(self) -> Seat:
        return seat(self.worker)

    def progressed(self) -> None:
        """A token came: a trial is over, and the worker is known to work. Cheap to repeat."""
        if not self.worked:
            self.worked = True
            self._on_work(self)

    def lose(self, loss: Loss) -> None:
        """Whoever waits for the worker inside `scope` is freed."""
        self.lost, self.crash = loss.why, loss.crash
        self.scope.cancel()


class Leases:
    """All leases, by the seat they hold a slot of."""

    def __init__(self) -> None:
        self.counts: Counter[Seat] = Counter()
        """Slots taken; no seat stands here with 0."""
        self.trials: dict[Seat, Lease] = {}
        """The one suspect on trial at a seat."""
        self._held: dict[Seat, dict[int, Lease]] = {}

    def __len__(self) -> int:
        return self.counts.total()

    def take(self, lease: Lease) -> None:
        place = lease.seat
        self.counts[place] += 1
        self._held.setdefault(place, {})[lease.number] = lease
        if lease.on_trial:
            self.trials[place] = lease

    def give_back(self, lease: Lease) -> None:
        place = lease.seat
        del self._held[place][lease.number]
        self.counts[place] -= 1
        if not self._held[place]:
            del self._held[place], self.counts[place]
        if self.trials.get(place) is lease:
            del self.trials[place]

    def clear(self, lease: Lease) -> None:
        """Its trial is over, and well."""
        lease.on_trial = False
        if self.trials.get(lease.seat) is lease:
            del self.trials[lease.seat]

    def seats(self) -> Iterable[tuple[Seat, WorkerBeat]]:
        """Where slots are held."""
        return [(s, next(iter(held.values())).worker) for s, held in self._held.items()]

    def lose(self, place: Seat, loss: Loss) -> bool:
        """The worker is lost to all who hold a slot of it; whether that is news to any."""
        losers = [lease for lease in self._held.get(place, {}).values() if not lease.lost]
        for lease in losers:
            lease.lose(loss)
        return bool(losers)
