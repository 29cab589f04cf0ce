"""`dry`: a token that would go on with a sequence that occurred before loses by its length.

For every lag it is known how many of the last tokens also stand that far back. A new token makes
each of these runs one longer or ends it, in one pass over an array; only after a cut are they found
anew, by the Z algorithm, which takes linear time whatever the text repeats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rbee.worker.engine.backend import Row, Vocabulary
from rbee.worker.engine.sampling.breakers import Breakers
from rbee.worker.engine.sampling.history import Change, Tokens
from rbee.worker.engine.sampling.params import Sampling
from rbee.worker.engine.sampling.penalties import put

_FEW = 8
"""More new tokens than this at a time are not worth a pass each."""
_LOG_LARGEST = math.log(float(np.finfo(np.float32).max))
_WORST = 1e30
"""A penalty from which nothing recovers, and which float32 can still subtract."""


class Dry:
    """What repeats in one sequence; `follow` it, then `apply` the penalties."""

    def __init__(self, params: Sampling, vocabulary: Vocabulary) -> None:
        self._params = params
        self._breakers = Breakers(params.dry_sequence_breakers, vocabulary)
        self._most = _most(params)
        self._runs = np.zeros(0, np.int32)
        """By lag less one: how many of the last tokens also stand that far back."""
        self._since = 0
        """Tokens behind the last breaker: no repetition that matters is longer."""
        self._known = False

    def follow(self, ids: Tokens, change: Change) -> None:
        """`ids` is prompt and answer as they are now."""
        self._reserve(len(ids))
        if not self._known or change.gone or len(change.new) > _FEW:
            self._find(ids)
        else:
            for end in range(len(ids) - len(change.new) + 1, len(ids) + 1):
                self._advance(ids[:end])

    def apply(self, row: Row, ids: Tokens) -> None:
        tokens, runs = self._repeaters(ids)
        if not len(tokens):
            return
        over = np.minimum(runs - self._params.dry_allowed_length, self._most)
        loss = self._params.dry_multiplier * np.power(
            self._params.dry_base, over.astype(np.float64)
        )
        put(row, tokens, row[tokens].astype(np.float64) - np.minimum(loss, _WORST))

    def _window(self, ids: Tokens) -> int:
        last = self._params.dry_penalty_last_n
        return len(ids) if last < 0 else min(last, len(ids))

    def _reserve(self, length: int) -> None:
        if length > len(self._runs):
            room = np.zeros(length + len(self._runs), np.int32)
            room[: len(self._runs)] = self._runs
            self._runs = room

    def _advance(self, ids: Tokens) -> None:
        """The last of `ids` is new."""
        window = self._window(ids)
        before = ids[len(ids) - window : len(ids) - 1][::-1]
        runs = self._runs[: len(before)]
        runs += 1
        runs *= before == ids[-1]
        self._since = 0 if self._breakers.ends_at(ids, len(ids) - 1) else self._since + 1

    def _find(self, ids: Tokens) -> None:
        tokens = ids[len(ids) - self._window(ids) :].tolist()
        self._runs[:] = 0
        self._runs[: max(0, len(tokens) - 1)] = runs_of(tokens[::-1])[1:]
        self._since = self._breakers.since(tokens)
        self._known = True

    def _repeaters(self, ids: Tokens) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tokens that would go on with a repetition, and the length of the longest such."""
        allowed = self._params.dry_allowed_length
        window = self._window(ids)
        runs = self._runs[: max(0, window - 1)]
        if self._since < allowed:
            runs = runs[:0]
        lags = np.flatnonzero(runs >= allowed) + 1
        lengths = np.minimum(np.minimum(runs[lags - 1], window - lags), self._since)
        lags, lengths = lags[lengths >= allowed], lengths[lengths >= allowed]
        tokens, longest = _longest(ids[len(ids) - lags], lengths)
        kept = [not self._breakers.alone(token) for token in tokens.tolist()]
        return tokens[kept], longest[kept]


def _longest(
    tokens: Tokens, lengths: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each token once, with its greatest length: the last one of its group when sorted."""
    pairs = np.sort((tokens.astype(np.int64) << 32) | lengths)
    groups = pairs >> 32
    last = np.flatnonzero(np.diff(groups, append=-1))
    return groups[last], pairs[last] & 0xFFFFFFFF


def _most(params: Sampling) -> int:
    """The exponent beyond which the penalty would leave float32."""
    growth = math.log(params.dry_base) if params.dry_base > 1.000001 else 0.0
    return int(_LOG_LARGEST / growth) if growth else 2**31 - 1


def runs_of(tokens: Sequence[int]) -> list[int]:
    """For each place how many tokens from there on are the same as from the beginning on: the Z
    algorithm. 0 for the first place, where it would say nothing."""
    size = len(tokens)
    runs = [0] * size
    left = right = 0
    for place in range(1, size):
        run = min(right - place, runs[place - left]) if place < right else 0
        while place + run < size and tokens[run] == tokens[place + run]:
            run += 1
        runs[place] = run
        if place + run > right:
            left, right = place, place + run
    return runs
