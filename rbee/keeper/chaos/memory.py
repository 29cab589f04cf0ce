"""How much memory processes use, and how that changed."""

from __future__ import annotations

from collections.abc import Mapping

import psutil

SLACK_BYTES = 16 * 1024 * 1024
"""What a process may take without being said to grow."""


class Memory:
    """The processes as they were when this was made."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._first = {name: resident(pid) for name, pid in pids.items()}

    def __repr__(self) -> str:
        return f"<Memory of {', '.join(self._pids)}>"

    def grown(self) -> dict[str, float]:
        """By name: memory now, less the slack, over what it was; of those that still run."""
        now = {name: resident(pid) for name, pid in self._pids.items()}
        return {
            name: max(0, now[name] - SLACK_BYTES) / before
            for name, before in self._first.items()
            if before and now[name]
        }


def resident(pid: int) -> int:
    """Bytes in memory; 0 for a process that is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
