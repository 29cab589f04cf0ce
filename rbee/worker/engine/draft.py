"""Guesses at what comes next: what followed the last time the same few tokens stood there.

"Prompt lookup" (Saxena, 2023): answers repeat their prompt and themselves (code, quotes, tables).
A guess is checked by the model in one step, token by token against what would have been sampled, so
it never changes an answer's distribution; a wrong one costs the time of its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

GRAM = 3
"""Tokens that must agree."""


class Lookup:
    """Where each run of `GRAM` tokens was last seen. Follows from the tokens alone."""

    def __init__(self, most: int) -> None:
        self.most = most
        """Tokens of a draft at most."""
        self._after: dict[tuple[int, ...], int] = {}
        self._read = 0

    def draft(self, tokens: Sequence[int]) -> list[int]:
        """What may follow `tokens`; empty when nothing alike was seen."""
        if len(tokens) < GRAM:
            return []
        for end in range(max(self._read, GRAM), len(tokens)):
            self._after[tuple(tokens[end - GRAM : end])] = end
        self._read = len(tokens)
        found = self._after.get(tuple(tokens[-GRAM:]))
        after = tokens[found : found + self.most] if found is not None else ()
        return list(takewhile(lambda token: token >= 0, after))  # a picture cannot be said
