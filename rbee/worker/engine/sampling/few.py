"""The usual case by a short way: a small top-k, then top-p, min-p, temperature and the draw.

What the modules beside this do in a pass each is done here over one short list, best first: it is
done for every token of nearly every answer, and a step of sixteen streams has no time to lose.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate
from math import exp, inf, isfinite, log

import numpy as np

from rbee.worker.engine.backend import Row
from rbee.worker.engine.sampling.candidates import Places, best
from rbee.worker.engine.sampling.params import COLD, Sampling

MOST = 256
"""Larger sets go the long way: it sorts less."""
_MARGIN = 0.2
_AT_LEAST = 0.05
_CROWD = 16
"""So many times the tokens wanted may be looked at more closely."""


def fits(params: Sampling) -> bool:
    return 1 < params.top_k <= MOST and params.typical_p >= 1.0 and not params.excludes


class Few:
    """The `count` best of each row of one answer.

    Where they begin, or at least how far below the best, is much the same from token to token: one
    look at what lies there finds them all, or says that a proper search is due. Only speed follows
    from what is kept.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._edge = inf
        """Where the last ones began, and a little below."""
        self._steady = False
        """Whether this would have found them the last time."""
        self._reach = 0.0
        """How far below the best to look; 0: nothing is known yet."""

    def top(self, row: Row) -> tuple[Places, Row] | None:
        """Ids, best first (of equals the lowest), and their logits; None when the row holds what is
        to be mended first."""
        ids = self._above(row, self._edge) if self._steady else None
        if ids is None and self._reach:
            ids = self._above(row, float(row.max()) - self._reach)
        if ids is None:
            ids = best(row, self._count)
        logits = row[ids]
        order = (-logits).argsort(kind="stable")[: self._count]
        logits = logits[order]
        if not len(logits) or not isfinite(logits[0]) or not isfinite(logits[-1]):
            return None
        self._learn(float(logits[0]), float(logits[-1]))
        return ids[order], logits

    def _above(self, row: Row, edge: float) -> Places | None:
        """What is not below the edge; None unless it is enough, and not too much."""
        ids: Places = (row >= np.float32(edge)).nonzero()[0]
        return ids if self._count <= len(ids) <= self._count * _CROWD else None

    def _learn(self, peak: float, least: float) -> None:
        margin = (peak - least) * _MARGIN + _AT_LEAST
        self._steady = least - 2.0 * margin <= self._edge <= least
        self._edge = least - margin
        self._reach = peak - least + margin


def pick(ids: Places, logits: Row, params: Sampling, chance: float) -> int:
    """One of `ids`, best first (`logits` theirs): the same as by the long way, but for the order in
    which `chance` goes through them, which is from the best to the least.

    Plain numbers: for so few of them each call of numpy would cost more than the whole loop.
    """
    below = logits.tolist()
    peak = below[0]
    below = _kept([value - peak for value in below], params)
    if len(below) == 1 or params.temperature < COLD:
        return int(ids[0])
    heap = list(accumulate(exp(value / params.temperature) for value in below))
    return int(ids[min(bisect_right(heap, chance * heap[-1]), len(heap) - 1)])


def _kept(below: list[float], params: Sampling) -> list[float]:
    """What top-p and min-p leave."""
    if params.top_p < 1.0:
        heap = list(accumulate(map(exp, below)))
        below = below[: bisect_left(heap, params.top_p * heap[-1]) + 1]
    if params.min_p > 0.0:
        edge = log(params.min_p)
        below = [value for value in below if value >= edge] or below[:1]
    return below
