"""Logits changed by request and by what was said before: bias, repetition, presence, frequency.

A token that is impossible stays so, and one that is possible never becomes impossible: otherwise
the one token that a grammar allows could be lost to one that it forbids.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rbee.worker.engine.backend import Row
from rbee.worker.engine.sampling.history import Change, Tokens
from rbee.worker.engine.sampling.params import Sampling

LARGEST = 1e38
"""Two such numbers can be subtracted in float32."""
_ROOM = 64


def put(row: Row, ids: NDArray[np.integer], values: NDArray[np.float64]) -> None:
    """Write new logits, none of them out of bounds."""
    least = np.where(values == -np.inf, values, -LARGEST)
    row[ids] = np.minimum(np.maximum(values, least), LARGEST)


class Bias:
    """What the request adds to the logits of certain tokens."""

    def __init__(self, bias: dict[int, float]) -> None:
        self._ids = np.fromiter(bias, np.int64, len(bias))
        self._values = np.fromiter(bias.values(), np.float64, len(bias))

    def apply(self, row: Row) -> None:
        put(row, self._ids, row[self._ids] + self._values)


def lessen_repeated(row: Row, params: Sampling, ids: Tokens) -> None:
    """`repeat_penalty`: what occurs in the window loses, whether its logit is above 0 or below."""
    seen = ids if params.repeat_last_n < 0 else ids[-params.repeat_last_n :]
    values = row[seen].astype(np.float64)
    factor = params.repeat_penalty
    put(row, seen, np.where(values > 0.0, values / factor, values * factor))


class Tally:
    """How often each token stands in the answer, for `presence_penalty` and `frequency_penalty`."""

    def __init__(self, params: Sampling) -> None:
        self._presence = params.presence_penalty
        self._frequency = params.frequency_penalty
        self._places: dict[int, int] = {}
        self._ids = np.zeros(_ROOM, np.int64)
        self._times = np.zeros(_ROOM, np.float64)

    def follow(self, change: Change) -> None:
        for token in change.gone:
            self._times[self._places[token]] -= 1.0
        for token in change.new:
            place = self._place(token)  # first: it may make room
            self._times[place] += 1.0

    def apply(self, row: Row) -> None:
        count = len(self._places)
        ids, times = self._ids[:count], self._times[:count]
        put(row, ids, row[ids] - (self._presence * (times > 0.0) + self._frequency * times))

    def _place(self, token: int) -> int:
        found = self._places.get(token)
        if found is None:
            found = self._places[token] = len(self._places)
            if found == len(self._ids):
                self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
                self._times = np.concatenate([self._times, np.zeros_like(self._times)])
            self._ids[found] = token
        return found
