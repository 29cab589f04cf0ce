"""A picture decoded: `llama_decode` over vectors where it usually gets tokens.

A batch holds the one or the other, so a picture is a batch of its own, or several when it is wide
and its cells may be told apart in time.
"""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp as c
import numpy as np
from numpy.typing import NDArray

from rbee.worker.engine.span import ImageSpan

REFUSED = -1
"""As `llama_decode` answers a batch that makes no sense; nothing has changed."""
IN_DOUBT = -3
"""The same for one that it has computed half of."""


def decode(context: Any, slot: int, span: ImageSpan, room: int) -> int:
    """Put a picture into a slot's memory, `room` cells at a time; answers as `llama_decode`."""
    if not span.at_once:
        return _decode_all(context, slot, span, room)
    if span.cells > room:  # llama.cpp would end the process
        return REFUSED
    c.llama_set_causal_attn(context, False)
    try:
        return _decode_all(context, slot, span, room)
    finally:
        c.llama_set_causal_attn(context, True)


def _decode_all(context: Any, slot: int, span: ImageSpan, room: int) -> int:
    for start in range(0, span.cells, room):
        cells = slice(start, start + room)
        positions = np.ascontiguousarray(span.positions[:, cells])
        code: int = _decode(context, slot, span.vectors[cells], positions)
        if code != 0:
            memory, first = c.llama_get_memory(context), int(span.positions[0, 0])
            undone = not start or c.llama_memory_seq_rm(memory, slot, first, -1)
            return code if undone else IN_DOUBT
    return 0


def _decode(
    context: Any, slot: int, vectors: NDArray[np.float32], positions: NDArray[np.int32]
) -> int:
    count = len(vectors)
    slots = (c.llama_seq_id * 1)(slot)
    pointers = (ctypes.POINTER(c.llama_seq_id) * count)(
        *(ctypes.cast(slots, ctypes.POINTER(c.llama_seq_id)) for _ in range(count))
    )
    ones, outputs = np.ones(count, np.int32), np.zeros(count, np.int8)
    batch = c.llama_batch(
        n_tokens=count,
        token=None,
        embd=_pointer(vectors, ctypes.c_float),
        pos=_pointer(positions, c.llama_pos),
        n_seq_id=_pointer(ones, ctypes.c_int32),
        seq_id=pointers,
        logits=_pointer(outputs, ctypes.c_int8),
    )
    return int(c.llama_decode(context, batch))


def _pointer(array: NDArray[Any], kind: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(kind))
