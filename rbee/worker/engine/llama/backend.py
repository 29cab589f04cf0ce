"""A model in memory with its context: what the engine thread decodes with.

1. All slots share one KV cache (`kv_unified`) that holds `slots` full contexts, so that a full
   neighbour takes nobody's room. Cut into streams, llama.cpp would compute slots that are not
   neighbours one after the other: 8 streams on every second slot ran at the speed of one.
2. What C answers is translated once: `DecodeFailed` for a batch, `BadModelFile` for a file.
3. Vectors have a context of their own, made at first use: pooling is a property of a context.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import llama_cpp as c
import numpy as np

from rbee.errors import BadModelFile
from rbee.worker.engine.backend import Chunk, DecodeFailed, Row
from rbee.worker.engine.llama.batch import Batch
from rbee.worker.engine.llama.loading import load
from rbee.worker.engine.llama.vocabulary import LlamaVocabulary

log = logging.getLogger(__name__)
MAX_META_BYTES = 1_048_576
_POOLED = {
    str(c.LLAMA_POOLING_TYPE_MEAN),
    str(c.LLAMA_POOLING_TYPE_CLS),
    str(c.LLAMA_POOLING_TYPE_LAST),
}


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
    ) -> None:
        self.slots = slots
        self.context = context
        self._threads = threads
        self._batch_tokens = max(batch_tokens, slots)
        self._model = load(path, device, gpu_layers, on_progress)
        self.vocabulary = LlamaVocabulary(self._model)
        self.trained_context: int = c.llama_model_n_ctx_train(self._model)
        self._vectors: Any = None
        params = self._params(slots * context, slots, self._batch_tokens)
        if device == "cpu":
            params.offload_kqv = params.op_offload = False
        self._context = c.llama_init_from_model(self._model, params)
        if not self._context:
            self.close()
            raise BadModelFile(
                f"llama.cpp cannot make a context of {slots} x {context} tokens for {path.name}.",
                hint="fewer --slots or a smaller --ctx needs less memory",
            )
        self._memory = c.llama_get_memory(self._context)
        self._batch = Batch(self._batch_tokens)

    def decode(self, chunks: Sequence[Chunk]) -> None:
        self._batch.fill(chunks)
        code = c.llama_decode(self._context, self._batch.c)
        if code == 1:
            raise DecodeFailed("no room in the KV cache", fatal=False)
        if code != 0:
            raise DecodeFailed(f"llama_decode returned {code}", fatal=code < -1)

    def logits(self, chunk: int) -> Row:
        pointer = c.llama_get_logits_ith(self._context, self._batch.ends[chunk])
        return np.ctypeslib.as_array(pointer, shape=(self.vocabulary.size,))

    def forget(self, slot: int) -> None:
        c.llama_memory_seq_rm(self._memory, slot, -1, -1)

    def embed(self, tokens: Sequence[int]) -> Row:
        if self._vectors is None:
            self._vectors = self._vector_context()
        c.llama_memory_clear(c.llama_get_memory(self._vectors), True)
        batch = Batch(len(tokens))
        batch.fill([Chunk(0, 0, tokens, ripe=True)], all_outputs=True)
        code = c.llama_decode(self._vectors, batch.c)
        if code != 0:
            raise DecodeFailed(f"llama_decode returned {code} for a vector", fatal=code < -1)
        pointer = c.llama_get_embeddings_seq(self._vectors, 0)
        if not pointer:
            raise DecodeFailed("the model gives no vector", fatal=False)
        width = c.llama_model_n_embd(self._model)
        return np.ctypeslib.as_array(pointer, shape=(width,)).copy()

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
        for context in (getattr(self, "_context", None), self._vectors):
            if context:
                c.llama_free(context)
        if self._model:
            c.llama_model_free(self._model)
        self._context = self._vectors = self._model = None

    def _params(self, n_ctx: int, sequences: int, batch: int) -> Any:
        params = c.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_seq_max = sequences
        params.kv_unified = True
        params.n_batch = params.n_ubatch = batch
        params.n_threads = params.n_threads_batch = self._threads
        return params

    def _vector_context(self) -> Any:
        """A second context: pooled as the model declares, else the mean over all tokens (also for
        models that declare none, or rank instead of giving vectors)."""
        params = self._params(self.context, 1, self.context)
        params.embeddings = True
        params.n_outputs_max_per_seq = self.context
        declared = self.meta(f"{self.meta('general.architecture')}.pooling_type")
        if declared not in _POOLED:
            params.pooling_type = c.LLAMA_POOLING_TYPE_MEAN
        made = c.llama_init_from_model(self._model, params)
        if not made:
            raise DecodeFailed("llama.cpp cannot make a context for vectors", fatal=False)
        return made
