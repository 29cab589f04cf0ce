"""How often the queen asks again for what had not begun: a budget for all, a pause for each.

Retries must not multiply an overload or an outage. So they are a share of what clients ask anyway,
and a few in any case, for a quiet queen must be able to lose a worker. Answers that were begun are
not counted: they always go on. Pure: time and chance are arguments.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW_S = 10
SHARE = 0.2
ALWAYS = 10
FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 5.0


@dataclass
class _Second:
    number: int
    asked: int = 0
    retried: int = 0


class Budget:
    """Counts requests and retries by the second, and remembers the last `WINDOW_S` of them."""

    def __init__(self, share: float = SHARE, always: int = ALWAYS) -> None:
        self._share = share
        self._always = always
        self._seconds: deque[_Second] = deque()
        self._asked = 0
        self._retried = 0

    def __repr__(self) -> str:
        return f"<Budget {self._retried} retries of {self._asked} requests>"

    def asked(self, now: float) -> None:
        """A client's request came."""
        self._at(now).asked += 1
        self._asked += 1

    def may_retry(self, now: float) -> bool:
        """Whether one more retry fits; it is then counted."""
        second = self._at(now)
        if self._retried >= self._share * self._asked + self._always:
            return False
        second.retried += 1
        self._retried += 1
        return True

    def _at(self, now: float) -> _Second:
        number = int(now)
        while self._seconds and self._seconds[0].number <= number - WINDOW_S:
            old = self._seconds.popleft()
            self._asked -= old.asked
            self._retried -= old.retried
        if not self._seconds or self._seconds[-1].number < number:
            self._seconds.append(_Second(number))
        return self._seconds[-1]


def pause_s(attempt: int, chance: float) -> float:
    """How long to wait before the attempt that follows the `attempt`th retry: nothing before the
    first (0), then up to twice as long each time. `chance` in [0, 1) spreads those who were lost
    together over all of it."""
    if attempt <= 0:
        return 0.0
    return chance * min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempt, 16))
