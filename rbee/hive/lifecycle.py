"""A worker's life, as a hive sees it: which moves are legal, and what an exit leads to. Pure.

starting -> ready              it said so
starting -> failed             it never served: its reason is kept, nobody tries again
starting, ready -> backoff     it served before and died: it comes again, later each time
ready -> draining              it takes nothing new, and ends when it has finished
backoff  -> starting | failed  failed after `crashes_max` in a row
any but the last -> stopping -> stopped
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

ChildState = Literal["starting", "ready", "draining", "backoff", "failed", "stopping", "stopped"]

MOVES: Final[Mapping[ChildState, frozenset[ChildState]]] = MappingProxyType(
    {
        "starting": frozenset({"ready", "backoff", "failed", "stopping"}),
        "ready": frozenset({"draining", "backoff", "failed", "stopping"}),
        "draining": frozenset({"stopping"}),
        "backoff": frozenset({"starting", "failed", "stopping"}),
        "failed": frozenset({"stopping"}),
        "stopping": frozenset({"stopped"}),
        "stopped": frozenset(),
    }
)
ALIVE: Final = frozenset({"starting", "ready", "draining", "backoff"})
"""States in which a worker counts: it holds a model, or will."""
JITTER: Final = 0.25
"""The part of a pause that is left to chance."""


def after_exit(has_served: bool, crashes: int, crashes_max: int) -> Literal["backoff", "failed"]:
    """What follows an exit that nobody asked for; `crashes` counts it."""
    return "backoff" if has_served and crashes < crashes_max else "failed"


def backoff_s(failures: int, first_s: float, max_s: float, chance: float) -> float:
    """How long to wait after so many failures in a row: doubled each time, bounded, and up to a
    quarter less by `chance` (0 to 1), so that what failed together does not come again together."""
    return min(max_s, first_s * 2.0 ** min(failures - 1, 32)) * (1.0 - JITTER * chance)


def crashes_in_a_row(before: int, served_s: float, forgiven_s: float) -> int:
    """The count after one more crash: a worker that served for `forgiven_s` starts anew."""
    return 1 if served_s >= forgiven_s else before + 1
