"""Pictures in prompts, in the engine's terms: ids, and beside them what is no id.

1. A picture fills consecutive places of the prompt with negative numbers that are made from what it
   shows. Two prompts thus share a prefix exactly as far as they say and show the same, and nobody
   who compares prompts need know of pictures.
2. A place is a position of the model. Some models put many of a picture's cells at few positions
   (`extra` counts the difference); memory holds cells, everything else counts positions.
3. A picture is computed whole, from vectors instead of tokens.

It knows no file format and no llama.cpp.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Picture:
    """Pixels, three bytes each, row by row."""

    width: int
    height: int
    rgb: bytes
    digest: str
    """Says which picture it is: the same file has the same."""


@dataclass(frozen=True, eq=False)
class ImageSpan:
    """One picture, or one piece of a picture that the projector cut up."""

    vectors: NDArray[np.float32]
    """What the model takes in place of token embeddings; shape (cells, width)."""
    positions: NDArray[np.int32]
    """Where each cell stands; shape (1, cells), or (4, cells) for models of two dimensions."""
    places: int
    """How far the prompt goes on after it."""
    at_once: bool = False
    """Its cells attend to one another, also to later ones: they must be in one batch."""

    @property
    def cells(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True)
class Seen:
    """A prompt's ids, and the pictures in it."""

    ids: list[int]
    images: Mapping[int, ImageSpan] = field(default_factory=dict)
    """By the place where each begins."""

    @property
    def extra(self) -> int:
        """Cells beyond one for each place."""
        return extra(self.images)

    @property
    def cells(self) -> int:
        """What it costs: in memory, and in a person's usage."""
        return len(self.ids) + self.extra


def extra(images: Mapping[int, ImageSpan], before: int | None = None) -> int:
    """Cells beyond one for each place, of all pictures or of those that begin earlier."""
    return sum(
        span.cells - span.places for at, span in images.items() if before is None or at < before
    )


def placeholders(picture: str, count: int) -> list[int]:
    """Negative numbers that stand for a picture's places; `picture` says which one it is."""
    raw = hashlib.shake_128(picture.encode()).digest(8 * count)
    drawn = np.frombuffer(raw, np.int64) | np.int64(-(2**63))
    found: list[int] = drawn.tolist()
    return found
