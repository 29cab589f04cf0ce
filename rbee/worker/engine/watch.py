"""Since when the engine's thread has been at what it does, and how long it may be.

Written by that thread (`asked` by any that sends it a command), read by any. What is told is one
piece of work at a time: a step, from the taking of its commands on; within it a copy of a slot's
memory, the computing of a batch, the writing of what came of it, the computing of a group of
vectors. A thread that takes no command although one is there is at that. While the process reads
its own memory from a disk, whatever it is at may take a minute.
"""

from __future__ import annotations

import time

from rbee.worker.engine.paging import Paging
from rbee.worker.engine.patience import LEAST_S, UNKNOWN_S, Load, Patience


class Watch:
    """The age of the current piece of work."""

    def __init__(self, paging: Paging | None = None) -> None:
        self._paging = paging or Paging()
        self._doing: tuple[float, float] | None = None
        """When it began and how long it may take, in one: both are read by other threads."""
        self._rested = time.monotonic()
        self._asked = 0.0
        self.patience = Patience()
        """With batches."""

    def __repr__(self) -> str:
        return f"<Watch {'at rest' if self._doing is None else 'at work'}>"

    def begin(self, limit_s: float = LEAST_S) -> float:
        """Another piece of work begins; returns the time."""
        now = time.monotonic()
        self._doing = (now, limit_s)
        return now

    def begin_batch(self, load: Load) -> float:
        """The computing of a batch begins; returns the time."""
        return self.begin(self.patience.limit_s(load))

    def end_batch(self, load: Load, took_s: float) -> None:
        """It is computed: the next one's patience follows from what it took."""
        self.patience.observe(load, took_s)
        self.begin()

    def rest(self) -> None:
        """Nothing is to be done before a command comes."""
        self._rested = time.monotonic()
        self._doing = None

    def asked(self) -> None:
        """A command comes, and none is there that has not been taken."""
        self._asked = time.monotonic()

    def pulse(self, *, waits: bool) -> tuple[float, float]:
        """Age and limit of the current piece of work; 0 and the least when there is none. `waits`:
        whether a command has not been taken. By one thread alone, again and again."""
        doing, now = self._doing, time.monotonic()
        least = UNKNOWN_S if self._paging.reads(now) else LEAST_S
        if doing is not None:
            return now - doing[0], max(doing[1], least)
        return (now - max(self._rested, self._asked) if waits else 0.0), least
