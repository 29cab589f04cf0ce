"""The ids that a token is chosen after, as one array, kept from call to call.

The ids alone count: what is kept is compared with what is given, so that an answer may have grown,
shrunk or changed since, and a sampler made anew somewhere else goes on the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]
_ROOM = 256


class Change(NamedTuple):
    """How an answer differs from the last one: `gone` was at its end, `new` is there now."""

    gone: list[int]
    new: list[int]


class History:
    """The last `reach` tokens of a prompt (-1: all of them), and a whole answer. What stands for a
    picture in a prompt is no token (it is negative), and is left out as if it were not there."""

    def __init__(self, prompt: Sequence[int], reach: int) -> None:
        ids = np.array(prompt, np.int64)
        tokens = ids[ids >= 0].astype(np.int32)
        kept = tokens if reach < 0 else tokens[max(0, len(tokens) - reach) :]
        self._prompt = len(kept)
        self._answer: list[int] = []
        self._ids = np.concatenate([kept, np.zeros(_ROOM, np.int32)])

    @property
    def ids(self) -> Tokens:
        return self._ids[: self._prompt + len(self._answer)]

    def follow(self, answer: Sequence[int]) -> Change:
        """Take over `answer`; say what is different."""
        given = answer if isinstance(answer, list) else list(answer)
        kept = self._common(given)
        change = Change(self._answer[kept:], given[kept:])
        self._answer[kept:] = change.new
        begin, end = self._prompt + kept, self._prompt + len(given)
        if end > len(self._ids):
            self._ids = np.concatenate([self._ids, np.zeros(end, np.int32)])
        if change.new:
            self._ids[begin:end] = change.new
        return change

    def _common(self, given: list[int]) -> int:
        """How many ids stay as they were: mostly all of them, which one comparison shows."""
        known = self._answer
        if given[: len(known)] == known:
            return len(known)
        pairs = zip(known, given, strict=False)
        differing = (place for place, (a, b) in enumerate(pairs) if a != b)
        return next(differing, len(given))
