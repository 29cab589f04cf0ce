"""A backend that tells the truth about echoes: its model says the prompt back and then ends.

The vocabulary is the 256 bytes and one end token. Like llama.cpp it remembers what it has decoded,
slot by slot, and answers logits from that memory alone: an engine that mixes slots up, skips a
token or forgets to empty a slot gets a wrong echo, or the assertion here. It can be held at the
door of `decode` (a slow model) and told to refuse a batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rbee.worker.engine.backend import Chunk, DecodeFailed, Row, Vocabulary
from rbee.worker.engine.sampling import Sampling
from rbee.worker.prepare import LoadedModel
from rbee.worker.template import ChatTemplate

END = 256
WIDTH = 8
HELD_LIMIT_S = 20.0
Refusal = Callable[[Sequence[Chunk]], DecodeFailed | None]


class EchoVocabulary:
    """Bytes, and the end token."""

    size = END + 1

    def tokenize(self, text: str, *, add_special: bool) -> list[int]:
        return list(text.encode())

    def piece(self, token: int) -> bytes:
        return b"" if token == END else bytes([token])

    def is_end(self, token: int) -> bool:
        return token == END


class _Slot:
    """One slot's memory; where the prompt ended is where the first token was asked for."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.prompt = 0

    def next(self) -> int:
        said = len(self.tokens) - self.prompt
        return self.tokens[said] if said < self.prompt else END


class EchoBackend:
    """`slots` echoes. `hold()` makes every decode wait for a `step()`; `refuse` may refuse one."""

    def __init__(self, slots: int = 4, context: int = 512) -> None:
        self.slots = slots
        self.context = context
        self.vocabulary: Vocabulary = EchoVocabulary()
        self.batches: list[tuple[Chunk, ...]] = []
        """What was decoded, and what was refused, in order."""
        self.refuse: Refusal | None = None
        self.closed = 0
        self._slots = [_Slot() for _ in range(slots)]
        self._ripe: list[Row | None] = []
        self._permits: threading.Semaphore | None = None

    def decode(self, chunks: Sequence[Chunk]) -> None:
        self.batches.append(tuple(chunks))
        permits = self._permits
        if permits is not None and not permits.acquire(timeout=HELD_LIMIT_S):
            raise DecodeFailed("held for too long", fatal=True)
        refusal = self.refuse and self.refuse(chunks)
        if refusal:
            raise refusal
        self._ripe = [self._remember(chunk) for chunk in chunks]

    def logits(self, chunk: int) -> Row:
        row = self._ripe[chunk]
        assert row is not None, f"chunk {chunk} of the batch was not ripe"
        return row

    def forget(self, slot: int) -> None:
        self._slots[slot] = _Slot()

    def embed(self, tokens: Sequence[int]) -> Row:
        """How often each remainder by `WIDTH` occurs."""
        return np.bincount([t % WIDTH for t in tokens], minlength=WIDTH).astype(np.float32)

    def close(self) -> None:
        self.closed += 1

    def hold(self) -> None:
        """From now on a decode waits for its `step()`."""
        self._permits = threading.Semaphore(0)

    def step(self, count: int = 1) -> None:
        """Let `count` decodes pass."""
        assert self._permits is not None, "not held"
        for _ in range(count):
            self._permits.release()

    def release(self) -> None:
        """Held no longer."""
        permits, self._permits = self._permits, None
        if permits is not None:
            permits.release(1_000)

    def _remember(self, chunk: Chunk) -> Row | None:
        slot = self._slots[chunk.slot]
        assert chunk.tokens, "an empty chunk"
        assert chunk.start == len(slot.tokens), f"a gap: {chunk.start} after {len(slot.tokens)}"
        slot.tokens += chunk.tokens
        assert len(slot.tokens) <= self.context, f"slot {chunk.slot} is over its context"
        if not chunk.ripe:
            return None
        slot.prompt = slot.prompt or len(slot.tokens)
        row = np.full(self.vocabulary.size, -4.0, np.float32)
        row[slot.next()] = 12.0
        return row


def echo_model(backend: EchoBackend, guide: Any = None) -> LoadedModel:
    """What the service is told of the echo; greedy unless the request says otherwise."""
    return LoadedModel(
        id="echo",
        path=Path("/models/echo.gguf"),
        sha256="e" * 64,
        slots=backend.slots,
        context=backend.context,
        vocabulary=backend.vocabulary,
        template=ChatTemplate(None, "", ""),
        guide=guide,
        recommended=Sampling(),
    )
