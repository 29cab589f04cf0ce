"""A `llama_batch`, filled here over numpy memory: the package's helpers restart positions at 0."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp as c
import numpy as np

from rbee.worker.engine.backend import Chunk


class Batch:
    """A `llama_batch` over numpy arrays."""

    def __init__(self, room: int) -> None:
        self._tokens = np.zeros(room, np.int32)
        self._positions = np.zeros(room, np.int32)
        self._slots = np.zeros(room, np.int32)
        self._outputs = np.zeros(room, np.int8)
        self._ones = np.ones(room, np.int32)
        first = self._slots.ctypes.data
        self._pointers = (ctypes.POINTER(c.llama_seq_id) * room)(
            *(ctypes.cast(first + 4 * i, ctypes.POINTER(c.llama_seq_id)) for i in range(room))
        )
        self.c = c.llama_batch(
            n_tokens=0,
            token=_pointer(self._tokens, c.llama_token),
            embd=None,
            pos=_pointer(self._positions, c.llama_pos),
            n_seq_id=_pointer(self._ones, ctypes.c_int32),
            seq_id=self._pointers,
            logits=_pointer(self._outputs, ctypes.c_int8),
        )

    def fill(self, chunks: Sequence[Chunk]) -> int:
        """Lay the chunks out one after the other; returns how many rows of logits will come."""
        at = outputs = 0
        for chunk in chunks:
            count = len(chunk.tokens)
            end = at + count
            self._tokens[at:end] = chunk.tokens
            self._positions[at:end] = range(chunk.start, chunk.start + count)
            self._slots[at:end] = chunk.slot
            self._outputs[at:end] = 0
            self._outputs[end - chunk.outputs : end] = 1
            outputs += chunk.outputs
            at = end
        self.c.n_tokens = at
        return outputs


def _pointer(array: Any, kind: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(kind))
