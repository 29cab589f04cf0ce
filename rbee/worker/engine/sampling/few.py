"""The usual case by a short way: a small top-k, then top-p, min-p, temperature and the draw.

What the modules beside this do in a pass each is done here over one short list, best first: it is
done for every token of nearly every answer, and a step of sixteen streams has no time to lose.
"""

from __future__ import annotations

import numpy as np

from rbee.worker.engine.backend import Row
from rbee.worker.engine.sampling.candidates import Places
from rbee.worker.engine.sampling.params import COLD, Sampling

MOST = 256
"""Larger sets go the long way: it sorts less."""


def fits(params: Sampling) -> bool:
    return 1 < params.top_k <= MOST and params.typical_p >= 1.0 and not params.excludes


def pick(ids: Places, logits: Row, params: Sampling, chance: float) -> int:
    """One of `ids` (ascending, `logits` theirs): the same as by the long way, but for the order in
    which `chance` goes through them, which is from the best to the least."""
    order = np.argsort(-logits, kind="stable")
    falling = logits[order].astype(np.float64)
    falling -= falling[0]
    kept = _kept(falling, params)
    if kept == 1 or params.temperature < COLD:
        return int(ids[order[0]])
    falling = falling[:kept]
    if params.temperature != 1.0:
        falling /= params.temperature
    heap = np.exp(falling, out=falling).cumsum()
    return int(ids[order[min(int(heap.searchsorted(chance * heap[-1], "right")), kept - 1)]])


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
