"""A model in memory with its context: what the engine thread decodes with.

1. Every slot has a KV cache of its own (a "stream" of llama.cpp), computed together while the slots
   are neighbours, and attention on the CPU runs without the flash kernel, which is made for GPUs:
   16 streams with 500 tokens each took 110 ms a step so, 164 with it, and 212 in one shared pool
   (192 M parameters, two cores). `kv_tokens` asks for the shared pool: less memory for many slots.
2. What C answers is translated once: `NoRoom` and `DecodeFailed` for a batch, `BadModelFile` for a
   file.
3. Vectors have a context of their own. A model that only makes vectors has no other.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llama_cpp as c
import numpy as np

from rbee.errors import BadModelFile
from rbee.worker.engine.backend import SCORED_TOKENS, Chunk, DecodeFailed, NoRoom, Row, Rows
from rbee.worker.engine.llama import pictures
from rbee.worker.engine.llama.adapters import Adapters
from rbee.worker.engine.llama.batch import Batch
from rbee.worker.engine.llama.loading import load
from rbee.worker.engine.llama.nature import nature_of
from rbee.worker.engine.llama.pairs import Pairs
from rbee.worker.engine.llama.vectors import GROUP_TOKENS, Vectors
from rbee.worker.engine.llama.vocabulary import LlamaVocabulary

if TYPE_CHECKING:
    from rbee.worker.engine.llama.vision import Projector

log = logging.getLogger(__name__)
MAX_META_BYTES = 1_048_576
CPU_TOKENS = 128
"""Tokens that a CPU computes at once, however many a step has: more take more memory and no less
time. A picture may need to be computed as a whole: a model that sees goes by the step."""
VALUE_BYTES = 2
"""Of a number in the memory: half precision, as llama.cpp keeps it by default."""
_PADDING = 256
"""llama.cpp rounds a sequence's memory up to a multiple of this."""


class LlamaBackend:
    """A model in memory with its context."""

    def __init__(
        self,
        path: Path,
        *,
        slots: int,
        context: int,
        batch_tokens: int,
        threads: int,
        device: str,
        gpu_layers: int,
        on_progress: Callable[[float], None],
        kv_tokens: int = 0,
        adapters: Mapping[str, Path] | None = None,
        projector: Path | None = None,
    ) -> None:
        self.slots = slots
        self.context = context
        self.pooled = kv_tokens > 0
        self._threads = threads
        self._cpu = device == "cpu"
        self._sees = projector is not None
        self._batch_tokens = max(batch_tokens, slots)
        self.vectors: Vectors | None = None
        self.eyes: Projector | None = None
        """What lets the model see, when it was given one."""
        self._context: Any = None
        self._memory: Any = None
        self._model = load(path, device, gpu_layers, on_progress)
        self.vocabulary = LlamaVocabulary(self._model)
        self.trained_context: int = c.llama_model_n_ctx_train(self._model)
        self._adapters = Adapters(self._model, dict(adapters or {}))
        self.nature = nature_of(path, self._model, self.meta)
        self.pairs = Pairs(self._model, self.vocabulary)
        self.vectors = Vectors(
            self._model,
            self.nature,
            vocabulary=self.vocabulary.size,
            threads=threads,
            offload=not self._cpu,
        )
        if not self.nature.remembers:  # past what it was trained for there is no position
            self.context = min(context, self.trained_context or context)
        self.can_trim = self._trims()
        room = kv_tokens or slots * -(-context // _PADDING) * _PADDING
        if self.nature.generates:
            self._open(room, path.name)
        if projector is not None:
            self.eyes = self._seeing(projector, device)
        self._batch = Batch(self._room)
        self._outputs = 0
        self._at = 0
        self._rows: Rows = np.zeros((0, self.vocabulary.size), np.float32)

    def _trims(self) -> bool:
        """A state cannot be taken back. In a pool, llama.cpp gives cells that have left a window to
        other slots, and what is cut would look at these again."""
        if c.llama_model_is_recurrent(self._model) or c.llama_model_is_hybrid(self._model):
            return False
        return not (self.pooled and c.llama_model_n_swa(self._model) > 0)

    @property
    def _room(self) -> int:
        """Tokens of a batch at most: fillers, or a draft, come on top of what is planned."""
        return self._batch_tokens + max(self.slots, SCORED_TOKENS)

    def _open(self, room: int, name: str) -> None:
        self._context = c.llama_init_from_model(self._model, self._decoding_params(room))
        if not self._context:
            self.close()
            raise BadModelFile(
                f"llama.cpp cannot make a context of {self.slots} x {self.context} tokens"
                f" for {name}.",
                hint="fewer --slots or a smaller --ctx needs less memory",
            )
        self._memory = c.llama_get_memory(self._context)

    def _seeing(self, projector: Path, device: str) -> Projector:
        from rbee.worker.engine.llama.vision import Projector  # ten megabytes that few need

        try:
            return Projector(
                projector,
                self._model,
                threads=self._threads,
                device=device,
                batch_tokens=self._batch_tokens,
            )
        except BadModelFile:
            self.close()
            raise

    def decode(self, chunks: Sequence[Chunk], adapter: str = "") -> None:
        self._adapters.use(self._context, adapter)
        done: list[Chunk] = []
        for chunk in chunks:
            if chunk.image is not None:
                room = self._batch_tokens
                self._check(pictures.decode(self._context, chunk.slot, chunk.image, room), done)
                done.append(chunk)
        texts = [chunk for chunk in chunks if chunk.image is None] if done else chunks
        self._outputs = self._batch.fill(texts)
        if texts:
            self._check(c.llama_decode(self._context, self._batch.c), done)
        # An accelerator is still at work: what a step takes is learned from when it is done.
        c.llama_synchronize(self._context)

    def _check(self, code: int, done: Sequence[Chunk]) -> None:
        """Raises what a code of `llama_decode` means, and undoes what was done of the batch."""
        if code == 0:
            return
        for chunk in done:
            if not c.llama_memory_seq_rm(self._memory, chunk.slot, chunk.start, -1):
                raise DecodeFailed("half of a batch cannot be undone", fatal=True)
        if code == 1:
            raise NoRoom
        raise DecodeFailed(f"llama_decode returned {code}", fatal=code < -1)

    def rows(self) -> Rows:
        if not self._outputs:
            return self._rows[:0]
        at = ctypes.cast(c.llama_get_logits(self._context), ctypes.c_void_p).value or 0
        if at != self._at:  # llama.cpp keeps its buffer until it needs a larger one
            shape = (self.slots + SCORED_TOKENS, self.vocabulary.size)
            self._rows = np.ctypeslib.as_array(
                ctypes.cast(at, ctypes.POINTER(ctypes.c_float)), shape=shape
            )
            self._at = at
        return self._rows[: self._outputs]

    def copy(self, source: int, target: int) -> None:
        c.llama_memory_seq_rm(self._memory, target, -1, -1)
        c.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    @property
    def copy_bytes(self) -> int:
        """Keys and values of a whole slot, as if every layer was like the first."""
        if self.pooled:
            return 0
        heads = c.llama_model_n_head(self._model) or 1
        shared = c.llama_model_n_head_kv(self._model) or heads
        width = c.llama_model_n_embd(self._model) // heads * shared
        cells = -(-self.context // _PADDING) * _PADDING
        return int(2 * VALUE_BYTES * width * c.llama_model_n_layer(self._model) * cells)

    def trim(self, slot: int, length: int) -> bool:
        done = bool(c.llama_memory_seq_rm(self._memory, slot, length if length else -1, -1))
        if not length and self._is_empty():
            # Else the next cells may lie elsewhere, and sums over them be rounded in another order.
            c.llama_memory_clear(self._memory, False)
        return done

    def _is_empty(self) -> bool:
        return all(c.llama_memory_seq_pos_max(self._memory, n) < 0 for n in range(self.slots))

    @property
    def embed_tokens(self) -> int:
        return GROUP_TOKENS

    def embed(self, inputs: Sequence[Sequence[int]]) -> list[Row]:
        assert self.vectors is not None, "closed"
        return self.vectors.embed(inputs)

    def meta(self, key: str) -> str | None:
        """A value of the GGUF header, as text."""
        size, name = 4_096, key.encode()
        while size <= MAX_META_BYTES:
            buffer = ctypes.create_string_buffer(size)
            count = c.llama_model_meta_val_str(self._model, name, buffer, size)
            if count < size:
                return None if count < 0 else buffer.value.decode("utf-8", "replace")
            size = count + 1
        raise BadModelFile(f"The header's {key} is larger than {MAX_META_BYTES} bytes.")

    def close(self) -> None:
        if self.vectors is not None:
            self.vectors.close()
        if self.eyes is not None:
            self.eyes.close()
        if self._context:
            c.llama_free(self._context)
        if self._model:
            self._adapters.close()
            c.llama_model_free(self._model)
        self._context = self._memory = self.vectors = self.eyes = self._model = None

    def _params(self, n_ctx: int, sequences: int, batch: int) -> Any:
        params = c.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_seq_max = sequences
        params.n_batch = params.n_ubatch = batch
        params.n_threads = params.n_threads_batch = self._threads
        if self._cpu:
            params.offload_kqv = params.op_offload = False
        return params

    def _decoding_params(self, n_ctx: int) -> Any:
        at_once = self._batch_tokens
        if self._cpu and not self._sees:
            at_once = min(at_once, CPU_TOKENS)
        params = self._params(n_ctx, self.slots, at_once)
        params.n_batch = self._room
        params.kv_unified = self.pooled
        params.swa_full = True  # else a slot forgets what has left the window, and cannot be cut
        params.n_outputs_max = self.slots + SCORED_TOKENS
        if self._cpu and not self.pooled:
            params.flash_attn_type = c.LLAMA_FLASH_ATTN_TYPE_DISABLED
        return params
