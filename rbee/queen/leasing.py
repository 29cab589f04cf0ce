"""What becomes of leases: given, lost, blamed, given back. The single writer of who holds what.

1. When the fleet's picture changes, the seats that are held are compared with it. Whoever holds a
   slot of a worker that is lost is told, and what waits for that worker is cancelled.
2. A caller whose stream broke says so (`broke`), and asks what that says of its request
   (`verdict`). A suspect on trial is convicted only of a worker that is known to be dead.
3. Failures, however they were noticed, open the worker's breaker; a token closes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import anyio

from rbee.contracts.fleet import WorkerBeat
from rbee.queen.breaker import Breakers
from rbee.queen.fleet import Fleet, Seat
from rbee.queen.lease import Lease, Leases, Loss
from rbee.queen.registry import Registry

PROOF_S = 60.0
"""No worker is silent for that long without being called dead."""
Verdict = Literal["innocent", "suspect", "poison"]


class Leasing:
    """All leases. `freed` is called when a trial is over, for another suspect may then be tried."""

    def __init__(
        self, registry: Registry, clock: Callable[[], float], freed: Callable[[], None]
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._freed = freed
        self._leases = Leases()
        self._breakers = Breakers()
        self._seen: Fleet | None = None
        """The picture that the leases were last compared with."""
        self._changed = anyio.Event()
        """Set, and replaced, when there is another picture."""

    def __len__(self) -> int:
        return len(self._leases)

    @property
    def counts(self) -> dict[Seat, int]:
        """Slots taken on each worker."""
        return self._leases.counts

    def barred(self, suspect: bool, now: float) -> frozenset[Seat]:
        """Where nobody, or no suspect, may be sent now."""
        barred = self._breakers.barred(now)
        return barred | self._leases.trials.keys() if suspect else barred

    def give(self, worker: WorkerBeat, number: int, suspect: bool, now: float) -> Lease:
        lease = Lease(worker, number, now, on_trial=suspect, _on_work=self._worked)
        self._leases.take(lease)
        self._breakers.leased(lease.seat, number)
        return lease

    def give_back(self, lease: Lease) -> None:
        self._leases.give_back(lease)
        self._breakers.left(lease.seat, lease.number)

    def _worked(self, lease: Lease) -> None:
        self._breakers.succeeded(lease.seat, lease.number)
        if lease.on_trial:
            self._leases.clear(lease)
            self._freed()

    def broke(self, lease: Lease, why: str = "its connection broke", *, crash: bool = True) -> None:
        """The holder's stream from the worker broke. Nothing is sent there before it is heard again
        and its breaker allows it; other streams from it go on. `crash`: it had the request, and may
        have died of it."""
        self._breakers.failed(lease.seat, self._clock())
        self._registry.suspect(*lease.seat)
        if not lease.lost:
            lease.lost, lease.crash = why, crash

    def parted(self, lease: Lease, why: str) -> None:
        """The worker said itself that it ends before the answer does: it did not die of it."""
        self.broke(lease, why, crash=False)

    def declined(self, lease: Lease) -> None:
        """The worker said that it is too busy, or drains, before it said anything else: nothing is
        sent there before it is heard again."""
        lease.declined = True
        self._registry.suspect(*lease.seat)

    def compare(self, now: float) -> bool:
        """Tell the leases whose worker is lost; False when nothing has changed since last time."""
        fleet = self._registry.view(now)
        if fleet is self._seen:
            return False
        self._seen = fleet
        for place, worker in self._leases.seats():
            loss = self._registry.lost(worker, now)
            if loss is not None and self._leases.lose(place, loss):
                self._breakers.failed(place, now)
        self._changed.set()
        self._changed = anyio.Event()
        return True

    async def verdict(self, lease: Lease) -> Verdict:
        """What a loss says of the request that holds `lease`, or did until just now. For one on
        trial this waits until it is known whether the worker is dead."""
        loss = self._loss(lease.worker)
        if not lease.crash or (loss is not None and loss.kind == "ended"):
            return "innocent"
        if lease.on_trial and await self._died(lease.worker):
            return "poison"
        return "suspect"

    async def _died(self, worker: WorkerBeat) -> bool:
        """Known when the worker is known to be dead, or has proven that it lives."""
        with anyio.move_on_after(PROOF_S):
            while (loss := self._loss(worker)) is None:
                if not self._registry.suspected(worker):
                    return False
                await self._changed.wait()
            return loss.kind != "ended"
        return False

    def _loss(self, worker: WorkerBeat) -> Loss | None:
        return self._registry.lost(worker, self._clock())
