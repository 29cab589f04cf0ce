"""How long slots are held, for the guesses that those who wait are told."""

from __future__ import annotations

WEIGHT = 0.2
"""Of the newest lease in the running mean."""


class Pace:
    """The running mean of how long a lease lasts."""

    def __init__(self) -> None:
        self._mean_s: float | None = None

    def __repr__(self) -> str:
        return f"<Pace {self._mean_s} s>"

    def took(self, seconds: float) -> None:
        mean = seconds if self._mean_s is None else self._mean_s
        self._mean_s = mean + WEIGHT * (seconds - mean)

    def eta_s(self, position: int, slots: int) -> float | None:
        """A guess for one with `position` others ahead and `slots` taken; None while nothing is
        known."""
        if self._mean_s is None:
            return None
        return round(self._mean_s * (position + 1) / max(1, slots), 2)
