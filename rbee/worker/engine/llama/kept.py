"""Vectors of pictures: those of the last ones, for who sends them again, and the sum of all.

Not safe for threads: the projector's lock is held around it.
"""

from __future__ import annotations

from collections import OrderedDict
from weakref import WeakValueDictionary

from rbee.errors import Overloaded
from rbee.worker.engine.backend import Rows

KEPT_BYTES = 128 * 2**20
"""Vectors kept of pictures seen before."""
HELD_BYTES = 1024 * 2**20
"""Vectors in memory altogether: kept, waiting, and being computed with."""


class Kept:
    """Vectors by name, the least recently used forgotten first; and a look at all that live."""

    def __init__(self) -> None:
        self._rows: OrderedDict[str, Rows] = OrderedDict()
        self._size = 0
        self._living: WeakValueDictionary[int, Rows] = WeakValueDictionary()

    def get(self, name: str) -> Rows | None:
        found = self._rows.get(name)
        if found is not None:
            self._rows.move_to_end(name)
        return found

    def make_room(self, size: int) -> None:
        """Raises `Overloaded` when so many bytes more would be too many."""
        while self._rows and self._size + size > KEPT_BYTES:
            self._size -= self._rows.popitem(last=False)[1].nbytes
        if sum(rows.nbytes for rows in self._living.values()) + size > HELD_BYTES:
            raise Overloaded("Too many images are waiting to be looked at.", retry_after_s=1.0)

    def put(self, name: str, rows: Rows) -> None:
        self._living[id(rows)] = rows
        if rows.nbytes <= KEPT_BYTES:
            self._rows[name] = rows
            self._size += rows.nbytes
