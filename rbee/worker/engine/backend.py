"""The narrow protocol between the engine and what computes: llama.cpp, or a truthful fake.

Only the engine thread calls `decode`, `rows`, `copy`, `trim` and `embed`; the vocabulary may be
asked from any thread, for it never changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rbee.worker.engine.span import ImageSpan

Row = NDArray[np.float32]
"""One position's logits, or a vector; shape (vocabulary,) or (width,)."""
Rows = NDArray[np.float32]
"""Shape (outputs, vocabulary)."""


SCORED_TOKENS = 16
"""Rows of logits that one step may ask for beyond one a slot: for drafts, and prompts scored."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive tokens of one slot in a batch."""

    slot: int
    start: int
    """Position of the first token in the slot's sequence."""
    tokens: Sequence[int]
    outputs: int = 0
    """How many of its last tokens get a row of logits: 0 in the middle of a prompt, 1 where a token
    is sampled, more where a draft is checked or a prompt is scored."""
    image: ImageSpan | None = None
    """The picture that `tokens` stand for: it is computed in their place, and has no outputs."""

    @property
    def cells(self) -> int:
        """What it takes of the memory, and of a step's budget."""
        return len(self.tokens) if self.image is None else self.image.cells


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

    @property
    def ends(self) -> Sequence[int]:
        """All of these."""

    @property
    def fim(self) -> tuple[int, int, int] | None:
        """The marks before the prefix, before the suffix and before the middle, of a model that can
        fill in a gap."""


class Backend(Protocol):
    """A loaded model with room for `slots` sequences of `context` tokens each."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def slots(self) -> int: ...

    @property
    def context(self) -> int: ...

    @property
    def can_trim(self) -> bool:
        """Whether a slot's memory can be cut behind a token (recurrent models cannot)."""

    @property
    def pooled(self) -> bool:
        """Whether the slots share one pool of memory. It can be too small for all of them together
        (`decode` then raises `NoRoom`), copies are free, and no slot need be beside another."""

    def decode(self, chunks: Sequence[Chunk], adapter: str = "") -> None:
        """Compute one batch, under a LoRA adapter if one is named; then `rows` answers. Raises
        `NoRoom`, with nothing changed, or `DecodeFailed`."""

    def rows(self) -> Rows:
        """The last batch's logits: one row for each output, in the order of the chunks. Writable,
        valid until the next decode."""

    def copy(self, source: int, target: int) -> None:
        """Make `target`'s memory the same as `source`'s; at the latest when the next batch is
        computed."""

    @property
    def copy_bytes(self) -> int:
        """About how many bytes that moves, however short the sequence; 0 where it is free."""

    def trim(self, slot: int, length: int) -> bool:
        """Keep a slot's first `length` tokens; False when that is impossible, with nothing changed.
        0 empties it, which is always possible."""

    def embed(self, inputs: Sequence[Sequence[int]]) -> list[Row]:
        """The pooled vectors of a few inputs, in one batch; for a ranker each is one score."""

    @property
    def embed_tokens(self) -> int:
        """How many tokens several inputs may have together; a longer one comes alone."""

    def close(self) -> None:
        """Free everything. Idempotent."""


class NoRoom(Exception):
    """The pool is full: give something up, then decode again."""


class DecodeFailed(Exception):
    """llama.cpp refused a batch. `fatal` means that the context cannot be trusted any more."""

    def __init__(self, message: str, *, fatal: bool) -> None:
        super().__init__(message)
        self.fatal = fatal
