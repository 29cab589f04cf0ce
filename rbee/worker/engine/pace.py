"""How much of a prompt fits beside running streams, from how long steps have taken. Pure.

A step that also computes prompt tokens may take `STRETCH` times as long as one that only decodes:
whoever reads a stream sees no gap, and the prompt still gets on. With no stream running there is
nothing to wait for, and a prompt gets the whole budget.
"""

from __future__ import annotations

STRETCH = 2.4
"""Under 3, which is what a reader is promised; steps differ a little among themselves."""
LEAST = 8
"""Prompt tokens a step gets in any case: each step reads all the weights once more for them."""
FIRST = 16
"""Before anything is known of their cost."""
MEMORY = 0.3
"""Weight of the newest measurement."""
LOOK_AGAIN = 24
"""After so many steps with prompt tokens one decodes only: how long that takes may have changed."""


class Pace:
    """Learns the cost of a decoding step at each width, and of a prompt token beside it."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._decode_s: dict[int, float] = {}
        self._token_s = 0.0
        self._mixed = 0
        """Steps with prompt tokens since the last one without."""

    def __repr__(self) -> str:
        return f"<Pace {self._token_s * 1000:.2f} ms a prompt token>"

    def allowance(self, decoding: int) -> int:
        """Prompt tokens for a step in which `decoding` streams get a token each."""
        room = max(self.budget - decoding, 0)
        if not decoding:
            return room
        usual = self._usual(decoding)
        if not usual or not self._token_s:
            return min(FIRST, room)
        if self._mixed >= LOOK_AGAIN:
            return 0
        return min(max(int((STRETCH - 1) * usual / self._token_s), LEAST), room)

    def observe(self, decoding: int, prompt_tokens: int, took_s: float) -> None:
        """A step is done."""
        if not decoding:
            return
        if not prompt_tokens:
            before = self._decode_s.get(decoding) if self._mixed < LOOK_AGAIN else None
            self._decode_s[decoding] = _blend(before, took_s)
            self._mixed = 0
            return
        self._mixed += 1
        extra = took_s - self._usual(decoding)
        if extra > 0:
            self._token_s = _blend(self._token_s or None, extra / prompt_tokens)

    def _usual(self, decoding: int) -> float:
        """How long a step of this width takes; by the nearest width known, 0 for none."""
        if not self._decode_s:
            return 0.0
        return self._decode_s[min(self._decode_s, key=lambda width: abs(width - decoding))]


def _blend(before: float | None, now: float) -> float:
    return now if before is None else before + MEMORY * (now - before)
