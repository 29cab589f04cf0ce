"""Vectors and scores: a context of its own, since what a batch yields is a property of a context.

1. It is made at first use, as large as what is asked for, and again when something larger comes, or
   something far smaller: a worker that embeds sentences does not pay for its longest input.
2. A model that reads from left to right is computed in pieces and pooled here: its output layer
   runs over every token, and one row of it is as wide as the vocabulary. In one batch, 1,024 tokens
   of a vocabulary of 120,000 took 945 MB, in pieces of 64 it is 59.
3. All others see a whole input at once and are pooled by llama.cpp, several inputs a batch.
4. Without flash attention where there is memory for it: its half precision makes a vector depend on
   what else is in the batch, in the second digit after the point. Without, hardly in the third.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import llama_cpp as c
import numpy as np

from rbee.worker.engine.backend import Chunk, DecodeFailed, Row, Rows
from rbee.worker.engine.llama.batch import Batch
from rbee.worker.engine.llama.nature import Nature

GROUP_TOKENS = 512
"""How many tokens several inputs have together at most; a longer one is computed alone."""
OUTPUT_BYTES = 64 * 1024 * 1024
"""What the output layer of a piece may take; it is there twice, computed and handed out."""
ATTENTION_BYTES = 128 * 1024 * 1024
"""What attention may take without its frugal form."""

Inputs = Sequence[Sequence[int]]


class Vectors:
    """One model's vectors. For the engine thread alone."""

    def __init__(
        self, model: Any, nature: Nature, *, vocabulary: int, threads: int, offload: bool
    ) -> None:
        self._model = model
        self._nature = nature
        self._piece = _piece(vocabulary)
        self._threads = threads
        self._offload = offload
        self._width = _width(model, nature)
        encodes = not nature.remembers or c.llama_model_has_encoder(model)
        self._run = c.llama_encode if encodes else c.llama_decode
        self._context: Any = None
        self._batch = Batch(1)
        self._room = 0

    def __repr__(self) -> str:
        return f"<Vectors of {self._width}, room for {self._room} tokens>"

    def embed(self, inputs: Inputs) -> list[Row]:
        """One row for each input, in their order: a vector, or a ranker's score alone."""
        rows: list[Row] = []
        for group in _groups(inputs, self._nature.inputs):
            self._make_room(sum(len(tokens) for tokens in group))
            self._forget()
            rows += self._pooled(group) if self._nature.in_pieces else self._whole(group)
        if not all(np.isfinite(row).all() for row in rows):
            raise DecodeFailed("the model computed what is no number", fatal=False)
        return rows

    def close(self) -> None:
        """Free the context. Idempotent."""
        if self._context:
            c.llama_free(self._context)
        self._context, self._room = None, 0

    def _whole(self, group: Inputs) -> list[Row]:
        """Pooled by llama.cpp."""
        self._compute([Chunk(slot, 0, ids, outputs=len(ids)) for slot, ids in enumerate(group)])
        rows = []
        for slot in range(len(group)):
            pointer = c.llama_get_embeddings_seq(self._context, slot)
            if not pointer:
                raise DecodeFailed("the model gives no vector", fatal=False)
            rows.append(np.ctypeslib.as_array(pointer, shape=(self._width,)).copy())
        return rows

    def _pooled(self, group: Inputs) -> list[Row]:
        """Pooled here, piece by piece."""
        last = self._nature.pooling == c.LLAMA_POOLING_TYPE_LAST
        rows = np.zeros((len(group), self._width), np.float32)
        for chunks in pieces(group, self._piece):
            outputs, at = self._outputs(chunks), 0
            for chunk in chunks:
                end = at + len(chunk.tokens)
                if last:
                    rows[chunk.slot] = outputs[end - 1]
                else:
                    part = outputs[at:end].sum(axis=0) / len(group[chunk.slot])
                    rows[chunk.slot] += part
                at = end
        return list(rows)

    def _outputs(self, chunks: Sequence[Chunk]) -> Rows:
        """The output of every token of one piece."""
        self._compute(chunks)
        count = sum(len(chunk.tokens) for chunk in chunks)
        pointer = c.llama_get_embeddings(self._context)
        if not pointer:
            raise DecodeFailed("the model gives no vector", fatal=False)
        return np.ctypeslib.as_array(pointer, shape=(count, self._width))

    def _compute(self, chunks: Sequence[Chunk]) -> None:
        self._batch.fill(chunks)
        code = self._run(self._context, self._batch.c)
        if code != 0:
            raise DecodeFailed(f"llama.cpp returned {code} for a vector", fatal=code < -1)

    def _forget(self) -> None:
        memory = c.llama_get_memory(self._context)
        if memory:
            c.llama_memory_clear(memory, False)

    def _make_room(self, tokens: int) -> None:
        room = max(GROUP_TOKENS, 1 << (tokens - 1).bit_length())
        if room <= self._room <= 4 * room:
            return
        self.close()
        params = self._params(room)
        self._context = c.llama_init_from_model(self._model, params)
        if not self._context:
            raise DecodeFailed(f"no memory for the vectors of {tokens} tokens", fatal=False)
        self._room = room
        self._batch = Batch(params.n_batch)

    def _params(self, room: int) -> Any:
        nature = self._nature
        batch = min(room, self._piece) if nature.in_pieces else room
        params = c.llama_context_default_params()
        params.n_ctx = room
        params.n_batch = params.n_ubatch = params.n_outputs_max_per_seq = batch
        params.n_seq_max = nature.inputs
        params.n_threads = params.n_threads_batch = self._threads
        params.pooling_type = c.LLAMA_POOLING_TYPE_NONE if nature.in_pieces else nature.pooling
        params.kv_unified = params.embeddings = True
        if 4 * batch * room * c.llama_model_n_head(self._model) <= ATTENTION_BYTES:
            params.flash_attn_type = c.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.offload_kqv = params.op_offload = self._offload
        return params


def pieces(group: Inputs, room: int) -> Iterator[list[Chunk]]:
    """The inputs one after the other, cut where `room` tokens are full."""
    piece: list[Chunk] = []
    free = room
    for slot, tokens in enumerate(group):
        start = 0
        while start < len(tokens):
            part = tokens[start : start + free]
            piece.append(Chunk(slot, start, part, outputs=len(part)))
            start += len(part)
            free -= len(part)
            if not free:
                yield piece
                piece, free = [], room
    if piece:
        yield piece


def _groups(inputs: Inputs, count: int) -> Iterator[Inputs]:
    for first in range(0, len(inputs), count):
        yield inputs[first : first + count]


def _piece(vocabulary: int) -> int:
    """Tokens of a piece: a power of two, from 32 to 512."""
    power = (OUTPUT_BYTES // (2 * 4 * vocabulary)).bit_length() - 1
    return 1 << max(5, min(9, power))


def _width(model: Any, nature: Nature) -> int:
    """A ranker may have more classes than one: the first is its score."""
    return 1 if nature.ranks else int(c.llama_model_n_embd_out(model))
