"""The waiting line: the highest priority first, then in order of arrival. Pure.

Who is paused is set aside and passed over: he keeps nobody waiting, and has his place again when he
goes on.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

from rbee.worker.engine.sequence import Sequence


class Waiting:
    """Those without a slot."""

    def __init__(self) -> None:
        self._line: list[tuple[int, int, Sequence]] = []
        self._aside: list[Sequence] = []

    def __len__(self) -> int:
        return len(self._line) + len(self._aside)

    def __iter__(self) -> Iterator[Sequence]:
        yield from (entry[2] for entry in self._line)
        yield from self._aside

    @property
    def first(self) -> Sequence | None:
        """Whose turn it is."""
        return self._line[0][2] if self._line else None

    def add(self, sequence: Sequence, *, aside: bool = False) -> None:
        if aside:
            self._aside.append(sequence)
        else:
            heapq.heappush(self._line, (-sequence.priority, sequence.arrival, sequence))

    def pop(self) -> Sequence:
        """Take the first out of the line."""
        return heapq.heappop(self._line)[2]

    def remove(self, named: Callable[[Sequence], bool]) -> list[Sequence]:
        """Take all of these out, wherever they are."""
        gone = [s for s in self._aside if named(s)]
        self._aside = [s for s in self._aside if not named(s)]
        lined = [entry[2] for entry in self._line if named(entry[2])]
        if lined:
            self._line = [entry for entry in self._line if not named(entry[2])]
            heapq.heapify(self._line)
        return gone + lined
