"""Who is asked again, and after which pause: what all requests of a queen share in this.

Answers and short questions have one budget and one memory of what is poisonous: a worker does not
care what kills it, nor an overload what it is made of.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from rbee.contracts.operations import Infer
from rbee.errors import Poisonous, RbeeError
from rbee.queen.attempts import Attempts
from rbee.queen.budget import Budget
from rbee.queen.lease import Lease
from rbee.queen.leasing import Leasing, Verdict
from rbee.queen.metrics import Metrics
from rbee.queen.quarantine import Quarantine


class Retries:
    """Owns the memory of poisonous requests, and is the only one who spends the budget."""

    def __init__(
        self,
        leases: Leasing,
        metrics: Metrics,
        budget: Budget,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leases = leases
        self._clock = clock
        self._metrics = metrics
        self._quarantine = Quarantine()
        self._budget = budget

    def __repr__(self) -> str:
        return f"<Retries {self._budget} {self._quarantine}>"

    def begin(self, asked: Infer | bytes) -> Attempts:
        """A client's request came."""
        return Attempts(asked, self._quarantine, self._budget, self._clock())

    def check(self, attempts: Attempts) -> None:
        """Before each lease. Raises `Poisonous`."""
        try:
            attempts.check(self._clock())
        except Poisonous:
            self._metrics.refused("poison")
            raise

    async def after(
        self, attempts: Attempts, ended: Lease, *, begun: bool = False, reached: bool = True
    ) -> float:
        """How long to wait before the next lease, after one that was lost or declined. Raises when
        there shall be none. `begun`: something was said. `reached`: the worker had the request."""
        verdict = await self._verdict(ended, reached)
        try:
            pause_s = _judged(attempts, ended, verdict, begun, self._clock())
        except RbeeError:
            if attempts.over_budget:
                self._metrics.refused("budget")
            raise
        if not begun:
            self._metrics.retried()
        return pause_s

    def over(self, attempts: Attempts) -> None:
        """The answer is complete."""
        attempts.over(self._clock())

    async def _verdict(self, ended: Lease, reached: bool) -> Verdict:
        """A worker that was lost before it had the request did not die of it."""
        if ended.declined or not reached:
            return "innocent"
        verdict = await self._leases.verdict(ended)
        if verdict == "poison":
            self._metrics.quarantined()
        return verdict


def _judged(attempts: Attempts, ended: Lease, verdict: Verdict, begun: bool, now: float) -> float:
    chance = random.random()
    if ended.declined:
        return attempts.declined(ended, begun, now, chance)
    return attempts.lost(ended, verdict, begun, now, chance)
