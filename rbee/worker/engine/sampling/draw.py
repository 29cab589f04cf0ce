"""Chance, from a counter: a number belongs to one token of one choice of one seed.

No generator is carried along, so that another worker can go on with an answer, and nothing that
runs beside it in the batch can disturb it.
"""

from __future__ import annotations

import hashlib
import struct

import numpy as np

from rbee.worker.engine.backend import Row
from rbee.worker.engine.sampling.params import COLD
from rbee.worker.engine.sampling.running import Running

_FEW = 4_096


def uniform(seed: int, choice: int, index: int, purpose: bytes = b"") -> float:
    """A number in [0, 1). Those of different purposes have nothing to do with each other."""
    raw = struct.pack("<QQQ", seed & (2**64 - 1), choice, index)
    (number,) = struct.unpack("<Q", hashlib.blake2b(raw, digest_size=8, person=purpose).digest())
    return float(number >> 11) / float(1 << 53)


def drawn(logits: Row, temperature: float, chance: float) -> int:
    """A place among logits that are all possible, by their probabilities at this temperature."""
    if temperature < COLD:
        return int(logits.argmax())
    scaled = logits - logits.max()
    if len(logits) <= _FEW:
        scaled = scaled.astype(np.float64)
    if temperature != 1.0:
        scaled /= temperature
    running = Running(np.exp(scaled, out=scaled))
    return running.reach(chance * running.total, "right")
