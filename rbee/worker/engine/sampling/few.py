"""The usual case by a short way: a small top-k, then top-p, min-p, temperature and the draw.

What the modules beside this do in a pass each is done here over one short list, best first: it is
done for every token of nearly every answer, and a step of sixteen streams has no time to lose.
"""

from __future__ import annotations

import math

import numpy as np

from rbee.worker.engine.backend import Row
from rbee.worker.engine.sampling.candidates import Places, best
from rbee.worker.engine.sampling.params import COLD, Sampling

MOST = 256
"""Larger sets go the long way: it sorts less."""
_MARGIN = 1.2
_AT_LEAST = 0.05
_NONE: Places = np.empty(0, np.intp)
_CROWD = 16
"""So many times the tokens wanted may be looked at more closely."""


def fits(params: Sampling) -> bool:
    return 1 < params.top_k <= MOST and params.typical_p >= 1.0 and not params.excludes


class Few:
    """The `count` best of each row of one answer.

    How far below the best they lie is much the same from token to token: one look at what lies so
    near finds them all, or says that a proper search is due. Only speed follows from what is kept.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._reach = 0.0
        """How far below the best to look; 0: nothing is known yet."""

    def top(self, row: Row) -> tuple[Places, Row] | None:
        """Ids, best first (of equals the lowest), and their logits; None when the row holds what is
        to be mended first."""
        peak = row.max()
        if not math.isfinite(peak):
            return None
        ids = np.flatnonzero(row >= peak - np.float32(self._reach)) if self._reach else _NONE
        if not self._count <= len(ids) <= self._count * _CROWD:
            ids = best(row, self._count)
        logits = row[ids]
        order = np.argsort(-logits, kind="stable")[: self._count]
        logits = logits[order]
        if not math.isfinite(logits[-1]):
            return None
        self._reach = float(peak - logits[-1]) * _MARGIN + _AT_LEAST
        return ids[order], logits


def pick(ids: Places, logits: Row, params: Sampling, chance: float) -> int:
    """One of `ids`, best first (`logits` theirs): the same as by the long way, but for the order in
    which `chance` goes through them, which is from the best to the least."""
    falling = logits.astype(np.float64)
    falling -= falling[0]
    kept = _kept(falling, params)
    if kept == 1 or params.temperature < COLD:
        return int(ids[0])
    falling = falling[:kept]
    if params.temperature != 1.0:
        falling /= params.temperature
    heap = np.exp(falling, out=falling).cumsum()
    return int(ids[min(int(heap.searchsorted(chance * heap[-1], "right")), kept - 1)])


def _kept(falling: np.ndarray, params: Sampling) -> int:
    """How many top-p and min-p leave."""
    kept = len(falling)
    if params.top_p >= 1.0 and params.min_p <= 0.0:
        return kept
    weights = np.exp(falling)
    if params.top_p < 1.0:
        heap = weights.cumsum()
        kept = min(int(heap.searchsorted(params.top_p * heap[-1], "left")) + 1, kept)
    if params.min_p > 0.0:
        kept = min(kept, max(int(np.count_nonzero(weights >= params.min_p)), 1))
    return kept
