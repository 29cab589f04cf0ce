"""A backend that tells the truth about echoes: its model says the prompt back and then ends.

The vocabulary is the 256 bytes as they are heard, one end token, and the 256 bytes as they are
said: so what was said can be told from the tokens alone, however they came into a slot. Like
llama.cpp it remembers what it has decoded, slot by slot, and answers logits from that memory alone:
an engine that mixes slots up, skips a token or forgets to empty a slot gets a wrong echo, or the
assertion here. It can be held at the door of `decode` (a slow model) and told to refuse a batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rbee.worker.engine.backend import (
    SCORED_TOKENS,
    Chunk,
    DecodeFailed,
    NoRoom,
    Row,
    Rows,
    Vocabulary,
)
from rbee.worker.engine.sampling import Sampling
from rbee.worker.prepare import LoadedModel
from rbee.worker.template import ChatTemplate

END = 256
SAID = 257
"""Where the said bytes begin."""
WIDTH = 8
HELD_LIMIT_S = 20.0
Refusal = Callable[[Sequence[Chunk]], DecodeFailed | None]


class EchoVocabulary:
    """Bytes heard, the end token, bytes said."""

    size = SAID + 256
    fim: tuple[int, int, int] | None = None

    def tokenize(self, text: str, *, add_special: bool) -> list[int]:
        return list(text.encode())

    def piece(self, token: int) -> bytes:
        return b"" if token == END else bytes([token if token < END else token - SAID])

    def is_end(self, token: int) -> bool:
        return token == END

    @property
    def ends(self) -> Sequence[int]:
        return [END]


def said(text: str | bytes) -> list[int]:
    """The tokens of an answer."""
    return [SAID + byte for byte in (text.encode() if isinstance(text, str) else text)]


def spoken(tokens: Sequence[int]) -> bytes:
    """The bytes that an answer's tokens say."""
    return bytes(token - SAID for token in tokens)


def next_of(tokens: Sequence[int]) -> int:
    """What an echo says after `tokens`: the byte after those it has said, or the end."""
    count = 0
    while count < len(tokens) and tokens[-1 - count] >= SAID:
        count += 1
    heard = len(tokens) - count
    return SAID + tokens[count] % SAID if count < heard else END


class EchoBackend:
    """`slots` echoes. `hold()` makes every decode wait for a `step()`; `refuse` may refuse one.

    `pool` is the number of tokens that all slots have together, 0 for a full context each."""

    def __init__(self, slots: int = 4, context: int = 512, pool: int = 0) -> None:
        self.slots = slots
        self.context = context
        self.pool = pool
        self.pooled = pool > 0
        self.can_trim = True
        self.embed_tokens = context
        self.copy_bytes = 0 if pool else context
        self.vocabulary: Vocabulary = EchoVocabulary()
        self.batches: list[tuple[Chunk, ...]] = []
        """What was decoded, and what was refused, in order."""
        self.adapters: list[str] = []
        """Under which adapter each of them was."""
        self.refuse: Refusal | None = None
        self.closed = 0
        self._slots: list[list[int]] = [[] for _ in range(slots)]
        self._rows: list[Row] = []
        self._permits: threading.Semaphore | None = None

    def decode(self, chunks: Sequence[Chunk], adapter: str = "") -> None:
        rows = sum(chunk.outputs for chunk in chunks)
        assert rows <= self.slots + SCORED_TOKENS, "llama.cpp ends the process"
        self.batches.append(tuple(chunks))
        self.adapters.append(adapter)
        permits = self._permits
        if permits is not None and not permits.acquire(timeout=HELD_LIMIT_S):
            raise DecodeFailed("held for too long", fatal=True)
        held = sum(map(len, self._slots))
        if self.pool and held + sum(len(chunk.tokens) for chunk in chunks) > self.pool:
            raise NoRoom
        refusal = self.refuse and self.refuse(chunks)
        if refusal:
            raise refusal
        self._rows = [row for chunk in chunks for row in self._remember(chunk)]

    def rows(self) -> Rows:
        width = self.vocabulary.size
        return np.stack(self._rows) if self._rows else np.zeros((0, width), np.float32)

    def copy(self, source: int, target: int) -> None:
        self._slots[target] = list(self._slots[source])

    def trim(self, slot: int, length: int) -> bool:
        del self._slots[slot][length:]
        return True

    def embed(self, inputs: Sequence[Sequence[int]]) -> list[Row]:
        """How often each remainder by `WIDTH` occurs."""
        return [
            np.bincount([t % WIDTH for t in item], minlength=WIDTH).astype(np.float32)
            for item in inputs
        ]

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

    def _remember(self, chunk: Chunk) -> list[Row]:
        slot = self._slots[chunk.slot]
        assert chunk.tokens, "an empty chunk"
        assert chunk.start == len(slot), f"a gap: {chunk.start} after {len(slot)}"
        slot += chunk.tokens
        assert len(slot) <= self.context, f"slot {chunk.slot} is over its context"
        ends = range(len(slot) - chunk.outputs + 1, len(slot) + 1)
        return [self._row(next_of(slot[:end])) for end in ends]

    def _row(self, token: int) -> Row:
        row = np.full(self.vocabulary.size, -4.0, np.float32)
        row[token] = 12.0
        return row


def echo_model(backend: EchoBackend, **more: Any) -> LoadedModel:
    """What the service is told of the echo; greedy unless the request says otherwise."""
    return LoadedModel(
        id="echo",
        path=Path("/models/echo.gguf"),
        sha256="e" * 64,
        slots=backend.slots,
        context=backend.context,
        vocabulary=backend.vocabulary,
        template=ChatTemplate(None, "", ""),
        recommended=Sampling(),
        **more,
    )
