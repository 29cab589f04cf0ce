"""Each parameter that narrows the choice, as a function from logits to the places that stay.

Places are in ascending order and at least one; no logit given here is minus infinity. What each
parameter means is llama.cpp's meaning of it: every one weighs what the ones before it have left.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rbee.worker.engine.backend import Row
from rbee.worker.engine.sampling.candidates import Places, at, best, every, largest
from rbee.worker.engine.sampling.running import Running

_FIRST = 256
"""How many are looked at first, where a few of very many are likely to do."""
_STRIDE = 64
"""Every so many-th is asked how many it takes, where they did not."""
_FEW = 4_096
"""Up to so many are best sorted at once."""
Keys = NDArray[np.float32]


def total_of(logits: Row, peak: float) -> float:
    """The sum of all weights, where the peak's is 1."""
    weights = logits - np.float32(peak)
    return float(np.exp(weights, out=weights).sum())


def min_p(logits: Row, least: float) -> Places:
    """Those at least `least` times as likely as the likeliest."""
    edge = logits.max() + np.float32(math.log(least))
    return np.flatnonzero(logits >= edge)


def top_p(logits: Row, share: float, total: float | None = None) -> Places:
    """The fewest of the likeliest that together have `share` of the total, which may be that of
    more tokens than are given."""
    found = every(len(logits))
    if len(logits) > _FEW:
        weights = np.exp(logits - logits.max())
        total = float(weights.sum()) if total is None else total
        found = _enough(logits, weights, share * total)
    falling = np.sort(at(logits, found))[::-1]
    falling -= falling[0]
    running = Running(np.exp(falling, out=falling))
    goal = share * (running.total if total is None else total)
    return found[largest(at(logits, found), running.reach(goal, "left") + 1)]


def typical(logits: Row, share: float) -> Places:
    """The fewest that together have more than `share`, taking first those whose surprise is nearest
    to what is to be expected of this distribution (its entropy)."""
    scaled = logits - logits.max()
    weights = np.exp(scaled)
    goal = share * float(weights.sum())
    scaled -= np.float32(float((weights * scaled).sum()) / float(weights.sum()))
    keys: Keys = np.abs(scaled, out=scaled)
    found = _enough(-keys, weights, goal) if len(keys) > _FEW else every(len(keys))
    order = found[_ranked(at(keys, found))]
    return np.sort(order[: Running(weights[order]).reach(goal, "right") + 1])


def _enough(ranks: Row, weights: Row, goal: float) -> Places:
    """The highest ranks, more than needed to have more than `goal` of the weight, so that not all
    must be sorted. Where a few are not enough a sample says how low to go."""
    found = best(ranks, _FIRST)
    if float(weights[found].sum()) > goal:
        return found
    some, shares = ranks[::_STRIDE], weights[::_STRIDE]
    order = np.argsort(-some)
    heap = np.cumsum(shares[order], dtype=np.float64)
    share = goal / float(weights.sum())
    share += (1.0 - share) / 4.0  # to be on the safe side: a sample is not the whole
    place = min(int(heap.searchsorted(share * heap[-1])), len(some) - 1)
    found = np.flatnonzero(ranks >= some[order[place]])
    return found if float(weights[found].sum()) > goal else every(len(ranks))


def _ranked(keys: Keys) -> NDArray[np.intp]:
    """The places in ascending order of their keys, none of which is negative. Of equals the first.

    Numbers are sorted ten times as fast as places of numbers; a float32 from 0 up sorts like its
    bits, which leaves half of an int64 for the place.
    """
    if len(keys) <= _FEW:
        return np.argsort(keys, kind="stable")
    pairs = keys.view(np.int32).astype(np.int64)
    pairs <<= 32
    pairs |= every(len(keys))
    pairs.sort()
    return (pairs & 0xFFFFFFFF).astype(np.intp)


def without_top(logits: Row, threshold: float) -> Places:
    """`xtc`: of those that have at least `threshold`, only the least likely stays."""
    weights = np.exp(logits - logits.max())
    high = np.flatnonzero(weights >= threshold * float(weights.sum()))
    if len(high) < 2:
        return every(len(logits))
    stays = np.ones(len(logits), np.bool_)
    stays[high[largest(logits[high], len(high) - 1)]] = False
    return np.flatnonzero(stays)
