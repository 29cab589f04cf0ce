"""A circuit breaker for each worker: one that fails is left alone, for longer each time.

    closed      all is well; nothing is remembered of it
    open        nobody is sent there before `until`
    half open   one may try: its success closes; any failure opens again, for twice as long

What fails while it is open says nothing new: one crash breaks all of a worker's streams, and is one
failure. Pure: the time is an argument.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from rbee.queen.fleet import Seat

FIRST_S = 0.5
MAX_S = 30.0
FORGET_S = 600.0
"""One that has been half open for so long, and was not tried, is closed: most are of past lives."""
KEEP = 4_096
_NOBODY: frozenset[Seat] = frozenset()


@dataclass
class _Open:
    for_s: float
    until: float
    trying: int | None = None
    """The number of the lease that tries it out."""


class Breakers:
    """The breakers that are not closed."""

    def __init__(self, first_s: float = FIRST_S, max_s: float = MAX_S) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._open: OrderedDict[Seat, _Open] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Breakers {len(self._open)} not closed>"

    def barred(self, now: float) -> frozenset[Seat]:
        """Where nobody may be sent now: open, or being tried out already."""
        if not self._open:
            return _NOBODY
        return frozenset(
            seat for seat, o in self._open.items() if now < o.until or o.trying is not None
        )

    def leased(self, seat: Seat, number: int) -> None:
        """Somebody was sent there: where it is half open, to try it out."""
        found = self._open.get(seat)
        if found is not None:
            found.trying = number

    def failed(self, seat: Seat, now: float) -> None:
        self._forget(now)
        found = self._open.get(seat)
        if found is None:
            self._open[seat] = _Open(self._first_s, now + self._first_s)
            while len(self._open) > KEEP:
                self._open.popitem(last=False)
        elif now >= found.until:
            for_s = min(self._max_s, found.for_s * 2)
            self._open[seat] = _Open(for_s, now + for_s)

    def _forget(self, now: float) -> None:
        """Who is asked where to go looks at all that are left."""
        for seat, one in list(self._open.items()):
            if one.trying is None and now - one.until > FORGET_S:
                del self._open[seat]

    def succeeded(self, seat: Seat, number: int) -> None:
        found = self._open.get(seat)
        if found is not None and found.trying == number:
            del self._open[seat]

    def left(self, seat: Seat, number: int) -> None:
        """The lease ended and showed neither: the next one may try."""
        found = self._open.get(seat)
        if found is not None and found.trying == number:
            found.trying = None
