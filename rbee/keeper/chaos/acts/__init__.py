"""What is done to a fleet in the middle of an answer: one function for each act.

Each returns what it did and when, with whatever it saw that was not as promised; an act whose
victim had ended already did nothing, and returns None.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from rbee.keeper.chaos.acts.hives import drain_hive, kill_hive, lose_hive, replace_hives
from rbee.keeper.chaos.acts.poison import poison
from rbee.keeper.chaos.acts.queens import kill_queen, lose_queen, replace_queen
from rbee.keeper.chaos.acts.workers import drain_worker, kill_worker, stop_worker
from rbee.keeper.chaos.fleet import Fleet
from rbee.keeper.chaos.heard import Heard
from rbee.keeper.chaos.outcome import Strike
from rbee.keeper.chaos.plan import Act

Perform = Callable[[Fleet, Heard, int], Awaitable[Strike | None]]
"""(the fleet, the answer that it is aimed at, a number of this round's own)"""
ACTS: Mapping[Act, Perform] = {
    "kill-worker": kill_worker,
    "stop-worker": stop_worker,
    "drain-worker": drain_worker,
    "drain-hive": drain_hive,
    "poison": poison,
    "kill-queen": kill_queen,
    "lose-queen": lose_queen,
    "kill-hive": kill_hive,
    "lose-hive": lose_hive,
    "replace-hives": replace_hives,
    "replace-queen": replace_queen,
}
