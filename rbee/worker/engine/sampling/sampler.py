"""One answer's way from rows of logits to tokens.

The order is that of llama.cpp's default chain: bias, penalties, dry, top-k, typical, top-p, min-p,
xtc, temperature, draw. A token follows from the row, the parameters, the ids before it and
(seed, choice, index) alone; what is kept between calls could be found anew from the ids.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rbee.worker.engine.backend import Row, Vocabulary
from rbee.worker.engine.sampling import few
from rbee.worker.engine.sampling.candidates import (
    Places,
    at,
    best,
    best_token,
    mend,
    possible,
)
from rbee.worker.engine.sampling.chain import min_p, top_p, total_of, typical, without_top
from rbee.worker.engine.sampling.draw import drawn, uniform
from rbee.worker.engine.sampling.dry import Dry
from rbee.worker.engine.sampling.history import History
from rbee.worker.engine.sampling.params import Sampling
from rbee.worker.engine.sampling.penalties import Bias, Tally, lessen_repeated

_XTC = b"xtc"


class Sampler:
    """For one choice of one request; one thread at a time."""

    def __init__(
        self, params: Sampling, choice: int, prompt: Sequence[int], vocabulary: Vocabulary
    ) -> None:
        self._params = params
        self._choice = choice
        self._prompt = prompt
        self._vocabulary = vocabulary
        self._bias = Bias(params.bias) if params.bias else None
        self._short = few.Few(params.top_k) if few.fits(params) else None
        self._looks_back = params.repeats or params.counts or params.dries
        untouched = self._bias is None and not self._looks_back
        self._usual = self._short if untouched else None
        """The short way for a row that nothing changes before."""
        self._history: History | None = None
        self._tally = Tally(params) if params.counts else None
        self._dry: Dry | None = None

    def __repr__(self) -> str:
        return f"<Sampler choice {self._choice} {self._params}>"

    @property
    def greedy(self) -> bool:
        """Whether `pick` is `best_token` of the row as it is."""
        return self._params.sharp and self._bias is None and not self._looks_back

    def pick(self, row: Row, answer: Sequence[int]) -> int:
        """The token that follows `answer`. May write into the row; what is minus infinity there is
        never picked while anything else is possible."""
        if self.greedy:
            return best_token(row)
        if self._usual is not None and (found := self._usual.top(row)) is not None:
            return few.pick(*found, self._params, self._uniform(len(answer)))
        with np.errstate(over="ignore", invalid="ignore"):
            self._penalise(row, answer)
            if self._params.sharp:
                return best_token(row)
            return self._choose(row, len(answer))

    def _penalise(self, row: Row, answer: Sequence[int]) -> None:
        if self._bias is not None:
            self._bias.apply(row)
        if not self._looks_back:
            return
        if self._history is None:
            self._history = History(self._prompt, self._params.reach)
        change = self._history.follow(answer)
        ids = self._history.ids
        if self._params.repeats:
            lessen_repeated(row, self._params, ids)
        if self._tally is not None:
            self._tally.follow(change)
            self._tally.apply(row)
        if self._params.dries:
            if self._dry is None:
                self._dry = Dry(self._params, self._vocabulary)
            self._dry.follow(ids, change)
            self._dry.apply(row, ids)

    def _choose(self, row: Row, index: int) -> int:
        if self._short is not None and (found := self._short.top(row)) is not None:
            return few.pick(*found, self._params, self._uniform(index))
        peak = float(row.max())
        if not math.isfinite(peak):
            mend(row)
            peak = float(row.max())
            if peak == -math.inf:
                return 0
        ids = self._narrowed(row, peak)
        params = self._params
        if params.excludes and len(ids) > 1 and self._uniform(index, _XTC) < params.xtc_probability:
            ids = ids[without_top(at(row, ids), params.xtc_threshold)]
        place = 0
        if len(ids) > 1:
            place = drawn(at(row, ids), params.temperature, self._uniform(index))
        return int(ids[place])

    def _narrowed(self, row: Row, peak: float) -> Places:
        """What top-k, typical, top-p and min-p leave."""
        params = self._params
        if params.min_p > 0.0 and not params.top_k and params.typical_p >= 1.0:
            return _min_p_first(row, peak, params)
        ids = best(row, params.top_k) if params.top_k else possible(row)
        if params.typical_p < 1.0:
            ids = ids[typical(at(row, ids), params.typical_p)]
        if params.top_p < 1.0:
            ids = ids[top_p(at(row, ids), params.top_p)]
        if params.min_p > 0.0:
            ids = ids[min_p(at(row, ids), params.min_p)]
        return ids

    def _uniform(self, index: int, purpose: bytes = b"") -> float:
        return uniform(self._params.seed, self._choice, index, purpose)


def _min_p_first(row: Row, peak: float, params: Sampling) -> Places:
    """min-p and top-p both keep the likeliest, so that the smaller set counts: the one that needs
    no sorting goes first, and top-p looks at what is left of the whole."""
    ids = min_p(row, params.min_p)
    if params.top_p < 1.0 and len(ids) > 1:
        ids = ids[top_p(at(row, ids), params.top_p, total_of(row, peak))]
    return ids
