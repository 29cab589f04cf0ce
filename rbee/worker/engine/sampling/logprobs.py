"""How likely a token was under the row as the model made it."""

from __future__ import annotations

import math

import numpy as np

from rbee.contracts.events import Logprob
from rbee.worker.engine.backend import Row, Vocabulary
from rbee.worker.engine.sampling.candidates import best, mend
from rbee.worker.engine.sampling.chain import total_of

LEAST_LOGPROB = -9999.0
"""What OpenAI's API says for the impossible; JSON has no minus infinity."""


def logprobs_of(row: Row, token: int, top: int, vocabulary: Vocabulary) -> Logprob:
    """The token's natural log probability, and the `top` best ones among those that are possible
    at all, the best first. Leaves the row as it is."""
    row, norm = _normalised(row)
    made = _entry(token, float(row[token]) - norm, vocabulary)
    if top:
        found = best(row, top)
        order = found[np.argsort(-row[found], kind="stable")]
        made.top = [_entry(int(i), float(row[i]) - norm, vocabulary) for i in order]
    return made


def _normalised(row: Row) -> tuple[Row, float]:
    """The row, without what is not a number, and what to take off to have log probabilities."""
    peak = float(row.max())
    if not math.isfinite(peak):
        row = row.copy()
        mend(row)
        peak = float(row.max())
    if peak == -math.inf:
        return row, 0.0
    with np.errstate(over="ignore"):
        return row, peak + math.log(total_of(row, peak))


def _entry(token: int, value: float, vocabulary: Vocabulary) -> Logprob:
    raw = vocabulary.piece(token)
    return Logprob(token, raw.decode("utf-8", "replace"), max(value, LEAST_LOGPROB), list(raw))
