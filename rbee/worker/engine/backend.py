"""The narrow protocol between the engine and what computes: llama.cpp, or a truthful fake.

Only the engine thread calls `decode`, `logits`, `forget` and `embed`; the vocabulary may be asked
from any thread, for it never changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Row = NDArray[np.float32]
"""One position's logits, or a vector; shape (vocabulary,) or (width,)."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive tokens of one slot in a batch. A `ripe` chunk ends where a token is sampled."""

    slot: int
    start: int
    """Position of the first token in the slot's sequence."""
    tokens: Sequence[int]
    ripe: bool


class Vocabulary(Protocol):
    """What is known of the model's tokens."""

    @property
    def size(self) -> int: ...

    def tokenize(self, text: str, *, add_special: bool) -> list[int]:
        """Token ids of `text`; special tokens spelled in it are recognised."""

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for in an answer; empty for control tokens."""

    def is_end(self, token: int) -> bool:
        """Whether the model ends its answer with this token."""


class Backend(Protocol):
    """A loaded model with room for `slots` sequences of `context` tokens each."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def slots(self) -> int: ...

    @property
    def context(self) -> int: ...

    def decode(self, chunks: Sequence[Chunk]) -> None:
        """Compute one batch. Raises `DecodeFailed`; afterwards `logits` answers for ripe chunks."""

    def logits(self, chunk: int) -> Row:
        """The row of the last batch's `chunk`-th chunk. Writable, valid until the next decode."""

    def forget(self, slot: int) -> None:
        """Empty a slot's memory."""

    def embed(self, tokens: Sequence[int]) -> Row:
        """The pooled vector of one input."""

    def close(self) -> None:
        """Free everything. Idempotent."""


class DecodeFailed(Exception):
    """llama.cpp refused a batch. `fatal` means that the context cannot be trusted any more."""

    def __init__(self, message: str, *, fatal: bool) -> None:
        super().__init__(message)
        self.fatal = fatal
