"""A prompt's parts on their way into mtmd, and its chunks on their way out."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from llama_cpp import mtmd_cpp as mtmd

from rbee.worker.engine.span import Picture


@contextmanager
def handed_over(parts: Sequence[str | Picture]) -> Iterator[tuple[Any, int]]:
    """The parts as mtmd takes them, and their number."""
    bitmaps: list[Any] = []
    texts: list[Any] = []
    made = (mtmd.mtmd_input_part * len(parts))()
    try:
        for slot, part in zip(made, parts, strict=True):
            if isinstance(part, Picture):
                slot.bitmap = _bitmap(part, str(len(bitmaps)))
                bitmaps.append(slot.bitmap)
            else:
                raw = part.encode()
                texts.append(mtmd.mtmd_input_text(raw, len(raw), False, True))
                slot.text = ctypes.pointer(texts[-1])
        pointers = (ctypes.POINTER(mtmd.mtmd_input_part) * len(parts))(
            *(ctypes.pointer(slot) for slot in made)
        )
        yield pointers, len(parts)
    finally:
        for bitmap in bitmaps:
            mtmd.mtmd_bitmap_free(bitmap)


def _bitmap(picture: Picture, mark: str) -> Any:
    """mtmd's copy of a picture; its chunks will bear the mark."""
    data = np.frombuffer(picture.rgb, np.uint8).ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
    bitmap = mtmd.mtmd_bitmap_init(picture.width, picture.height, data)
    mtmd.mtmd_bitmap_set_id(bitmap, mark.encode())
    return bitmap


def is_image(chunk: Any) -> bool:
    return bool(mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE)


def cells_of(chunk: Any) -> int:
    return int(mtmd.mtmd_input_chunk_get_n_tokens(chunk))


def tokens(chunk: Any) -> list[int]:
    count = ctypes.c_size_t(0)
    pointer = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
    return list(pointer[: count.value]) if count.value else []
