"""From a row of logits to a token. Pure: a token depends on the row, the parameters, the ids before
it and (seed, choice, index) alone, so that another worker can go on where this one stopped.

The order is llama.cpp's: bias, penalties, top-k, top-p, min-p, temperature, draw.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rbee.contracts.events import Logprob
from rbee.worker.engine.backend import Row, Vocabulary

REPEAT_WINDOW = 64
"""How many tokens back `repeat_penalty` looks, prompt included (llama.cpp's default)."""

LEAST_LOGPROB = -9999.0
"""What OpenAI's API says for the impossible; JSON has no minus infinity."""


@dataclass(frozen=True)
class Sampling:
    """Every parameter at its neutral value; defaults of a model are filled in by the service."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0
    bias: dict[int, float] = field(default_factory=dict)


def penalise(row: Row, params: Sampling, context: Sequence[int], answer: Sequence[int]) -> None:
    """Change `row` in place. `context` is prompt and answer, `answer` what was generated."""
    if params.bias:
        row[list(params.bias)] += np.fromiter(params.bias.values(), np.float32)
    if params.repeat_penalty != 1.0:
        seen = np.unique(np.asarray(context[-REPEAT_WINDOW:], np.int64))
        values = row[seen]
        worse = np.where(values > 0, values / params.repeat_penalty, values * params.repeat_penalty)
        row[seen] = worse
    if (params.presence_penalty or params.frequency_penalty) and answer:
        counts = Counter(answer)
        ids = np.fromiter(counts, np.int64)
        times = np.fromiter(counts.values(), np.float32)
        row[ids] -= params.presence_penalty + params.frequency_penalty * times


def pick(row: Row, params: Sampling, uniform: float) -> int:
    """A token: the best one at temperature 0, else drawn with `uniform` in [0, 1)."""
    if params.temperature <= 0.0 or params.top_k == 1:
        return int(row.argmax())
    ids, logits = _best(row, params.top_k)
    if not len(ids):
        return int(row.argmax())
    weights = np.exp(logits - logits[0])
    kept = _kept(weights, params)
    with np.errstate(over="ignore"):  # a temperature next to 0: minus infinity is what is meant
        scaled = np.exp((logits[:kept] - logits[0]).astype(np.float64) / params.temperature)
    heap = np.cumsum(scaled)
    return int(ids[min(int(np.searchsorted(heap, uniform * heap[-1], "right")), kept - 1)])


def _best(row: Row, top_k: int) -> tuple[np.ndarray, Row]:
    """The `top_k` best ids (0: all that are possible) and their logits, best first."""
    ids = np.argpartition(row, -top_k)[-top_k:] if 0 < top_k < len(row) else np.arange(len(row))
    ids = ids[row[ids] > -np.inf]
    order = np.argsort(-row[ids], kind="stable")
    ids = ids[order]
    return ids, row[ids]


def _kept(weights: Row, params: Sampling) -> int:
    """How many of the sorted candidates top-p and min-p leave; at least one."""
    kept = len(weights)
    if params.top_p < 1.0:
        heap = np.cumsum(weights, dtype=np.float64)
        kept = int(np.searchsorted(heap, params.top_p * heap[-1], "left")) + 1
    if params.min_p > 0.0:
        kept = min(kept, int(np.count_nonzero(weights >= params.min_p)))
    return max(1, min(kept, len(weights)))


def uniform(seed: int, choice: int, index: int) -> float:
    """A number in [0, 1) that belongs to this token of this choice: a counter-based generator."""
    raw = struct.pack("<QQQ", seed & (2**64 - 1), choice, index)
    (number,) = struct.unpack("<Q", hashlib.blake2b(raw, digest_size=8).digest())
    return float(number >> 11) / float(1 << 53)


def logprobs_of(row: Row, token: int, top: int, vocabulary: Vocabulary) -> Logprob:
    """The token's natural log probability under the untouched row, and the `top` best ones."""
    peak = float(row.max())
    total = peak + float(np.log(np.exp(row - peak, dtype=np.float64).sum()))

    def entry(token_id: int) -> Logprob:
        raw = vocabulary.piece(token_id)
        value = max(float(row[token_id]) - total, LEAST_LOGPROB)
        return Logprob(token_id, raw.decode("utf-8", "replace"), value, list(raw))

    made = entry(token)
    if top:
        best = np.argpartition(row, -top)[-top:] if top < len(row) else np.arange(len(row))
        made.top = [entry(int(i)) for i in best[np.argsort(-row[best], kind="stable")]]
    return made
