"""What one request has been through, and whether it is asked again. Pure.

1. Poison is refused: the request under whose trial a second worker crashed, and its like.
2. After `MAX_LOST` workers it is given up, whoever was to blame.
3. An answer that was begun goes on, at once the first time. One that had not said anything is asked
   again within the budget for all.
"""

from __future__ import annotations

from functools import cached_property

from rbee.contracts.operations import Infer
from rbee.errors import Overloaded, WorkerGone
from rbee.queen.budget import Budget, pause_s
from rbee.queen.lease import Lease
from rbee.queen.leasing import Verdict
from rbee.queen.quarantine import Quarantine, fingerprint

MAX_LOST = 8


class Attempts:
    """Of one request; `check` before each of its leases, `lost` or `declined` after one that
    failed, `over` when its answer is complete. `chance` in [0, 1) spreads the pauses."""

    def __init__(
        self, asked: Infer | bytes, quarantine: Quarantine, budget: Budget, now: float
    ) -> None:
        self._asked = asked
        self._quarantine = quarantine
        self._budget = budget
        self._losses = 0
        self._pauses = 0
        self.suspect = False
        """Whether the next lease is asked for as a suspect."""
        self.declined_by = ""
        """The worker that had no room for it last."""
        self.over_budget = False
        """It was given up because too much is asked again."""
        budget.asked(now)

    def __repr__(self) -> str:
        return f"<Attempts {self._losses} workers lost, suspect {self.suspect}>"

    @property
    def again(self) -> bool:
        """Whether it was admitted before."""
        return self._losses + self._pauses > 0

    @cached_property
    def _print(self) -> str:
        return fingerprint(self._asked)

    def check(self, now: float) -> None:
        """Raises `Poisonous` for what is convicted, or its like."""
        if not self._quarantine.empty(now):
            self._quarantine.check(self._print, now)
            self.suspect = self.suspect or self._quarantine.suspects(self._print, now)

    def lost(self, lease: Lease, verdict: Verdict, begun: bool, now: float, chance: float) -> float:
        """The worker of `lease` was lost; returns how long to wait before the next is asked.

        Raises `Poisonous`, or `WorkerGone` when it is not asked again."""
        self._judge(lease, verdict, now)
        self._losses += 1
        if self._losses >= MAX_LOST:
            raise self._gone(lease, f"It is the {MAX_LOST}th one that this request has lost.")
        if begun:
            return pause_s(self._losses - 1, chance)
        if not self._may_retry(now):
            raise self._gone(lease, "Too many requests are being asked again already.")
        return pause_s(self._losses, chance)

    def declined(self, lease: Lease, begun: bool, now: float, chance: float) -> float:
        """The worker of `lease` had no room; returns how long to wait before one is asked again.
        Raises `Overloaded` when too much is asked again already, and this had not begun."""
        self._pauses += 1
        self.declined_by = lease.worker.id
        if not begun and not self._may_retry(now):
            raise Overloaded("All workers for this model are busy.", retry_after_s=5.0)
        return pause_s(self._pauses, chance)

    def over(self, now: float) -> None:
        """The answer is complete: whatever it was suspected of, it was not that."""
        if not self._quarantine.empty(now):
            self._quarantine.acquit(self._print)

    def _may_retry(self, now: float) -> bool:
        self.over_budget = not self._budget.may_retry(now)
        return not self.over_budget

    def _judge(self, lease: Lease, verdict: Verdict, now: float) -> None:
        if lease.worked:
            self.suspect = False
            self._quarantine.acquit(self._print)
        if verdict == "poison":
            self._quarantine.convict(self._print, now)
            self._quarantine.check(self._print, now)
        if verdict == "suspect":
            self.suspect = True
            self._quarantine.accuse(self._print, now)

    def _gone(self, lease: Lease, and_: str) -> WorkerGone:
        worker = lease.worker
        return WorkerGone(
            f"Worker {worker.id!r} at {worker.url} is gone: {lease.lost}. {and_}",
            hint="ask again: a crashed worker is started anew by its hive",
        )
