"""Which tokens may come at all: `best` finds the largest of many numbers without sorting them.

Of equal numbers the first is the larger: what is chosen never depends on how something was sorted.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rbee.worker.engine.backend import Row
from rbee.worker.engine.sampling.penalties import LARGEST

Places = NDArray[np.intp]
"""Indices in ascending order."""
_LOWEST = float(np.finfo(np.float32).min)
_COLUMNS = (1_024, 4_096)
_DENSE = 4
"""At least so many columns for each one wanted, and so many numbers for each column."""


def best_token(row: Row) -> int:
    """The likeliest token. What is not a number is never it; 0 if nothing is possible."""
    token = int(row.argmax())
    if np.isnan(row[token]):
        mend(row)
        token = int(row.argmax())
    return token


def mend(row: Row) -> None:
    """Make what is not a number impossible, and what is infinite merely huge."""
    np.nan_to_num(row, copy=False, nan=-np.inf, posinf=LARGEST, neginf=-np.inf)


def every(size: int) -> Places:
    """All places. They are made once for all sizes up to the next power of two."""
    return _many(max(size - 1, 0).bit_length())[:size]


@lru_cache
def _many(bits: int) -> Places:
    places = np.arange(1 << bits)
    places.flags.writeable = False
    return places


def possible(row: Row) -> Places:
    """All that is not ruled out."""
    return every(len(row)) if row.min() > -np.inf else np.flatnonzero(row > -np.inf)


def best(values: Row, count: int) -> Places:
    """Where the `count` largest are; fewer if not so many are above minus infinity."""
    columns = next((c for c in _COLUMNS if c >= count * _DENSE), 0)
    if not columns or len(values) < columns * _DENSE:
        found = possible(values)
    else:
        found = _likely(values, count, columns)
    return found[largest(at(values, found), count)]


def at(values: Row, places: Places) -> Row:
    """The values at these places; not to be written to, for it may be the values themselves."""
    return values if len(places) == len(values) else values[places]


def largest(values: Row, count: int) -> Places:
    """Where the `count` largest of a few values are."""
    if count >= len(values):
        return every(len(values))
    edge = np.partition(values, len(values) - count)[len(values) - count]
    chosen = values > edge
    equal = np.flatnonzero(values == edge)
    chosen[equal[: count - np.count_nonzero(chosen)]] = True
    return np.flatnonzero(chosen)


def _likely(values: Row, count: int, columns: int) -> Places:
    """All `count` largest, and a few more.

    Written in lines of `columns` numbers, the `count` greatest maxima of the columns are `count`
    different numbers: what is smaller than all of these is not wanted. Two passes, and the second
    one goes through a few columns only.
    """
    whole = len(values) // columns * columns
    table = values[:whole].reshape(-1, columns)
    peaks = table.max(axis=0)
    edge = max(np.partition(peaks, columns - count)[columns - count], np.float32(_LOWEST))
    wanted = np.flatnonzero(peaks >= edge)
    if len(wanted) * _DENSE > columns:
        return np.flatnonzero(values >= edge)
    taken = np.flatnonzero(table.take(wanted, axis=1) >= edge)
    lines, places = np.divmod(taken, len(wanted))
    rest = np.flatnonzero(values[whole:] >= edge)
    return np.concatenate([lines * columns + wanted[places], rest + whole])
