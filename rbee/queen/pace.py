"""How fast slots come free, as measured, for those who wait and those who may not. Pure.

A model's slots, divided by how long they are held on average, is its service rate. When nobody was
served for much longer than that promises, the silence is believed instead.
"""

from __future__ import annotations

from collections import OrderedDict

WEIGHT = 0.1
"""Of the newest lease in the running mean."""
MAX_MODELS = 1_024
FIRST_RETRY_S, MIN_RETRY_S, MAX_RETRY_S = 5.0, 1.0, 60.0


class Pace:
    """The running mean of how long a lease of one model lasts."""

    def __init__(self) -> None:
        self._mean_s: float | None = None
        self._away = 0.0
        self._told_at = 0.0

    def __repr__(self) -> str:
        return f"<Pace {self._mean_s} s>"

    def took(self, seconds: float) -> None:
        mean = seconds if self._mean_s is None else self._mean_s
        self._mean_s = mean + WEIGHT * (seconds - mean)

    def gap_s(self, slots: int, stalled_s: float) -> float | None:
        """Seconds from one slot's coming free to the next one's; None while nothing is known.
        `stalled_s`: since somebody who waited was last served."""
        if self._mean_s is None:
            return None
        return max(self._mean_s / max(1, slots), stalled_s / 2)

    def comes_back_s(self, gap_s: float | None, now: float) -> float:
        """When one who is sent away shall come back: in the order of their coming, as fast as room
        is made, so that they do not all come at once."""
        if gap_s is None:
            return FIRST_RETRY_S
        gap_s = max(gap_s, 0.001)
        returned = (now - self._told_at) / gap_s
        self._told_at = now
        self._away = min(max(0.0, self._away - returned) + 1.0, MAX_RETRY_S / gap_s)
        return bounded(self._away * gap_s)


class Paces:
    """One `Pace` for each model, those used last."""

    def __init__(self) -> None:
        self._paces: OrderedDict[str, Pace] = OrderedDict()

    def __getitem__(self, model: str) -> Pace:
        pace = self._paces.setdefault(model, Pace())
        self._paces.move_to_end(model)
        while len(self._paces) > MAX_MODELS:
            self._paces.popitem(last=False)
        return pace


def bounded(seconds: float) -> float:
    """A `Retry-After` that a client may believe."""
    return min(MAX_RETRY_S, max(MIN_RETRY_S, seconds))
