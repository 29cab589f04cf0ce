"""The border to llama.cpp: the only module that knows its C interface (`llama.h`).

1. `llama_batch` is filled here, over numpy memory, since the package's helpers restart positions.
2. All slots share one KV cache (`kv_unified`) that holds `slots` full contexts, so that a full
   neighbour takes nobody's room. Cut into streams, llama.cpp would compute slots that are not
   neighbours one after the other: 8 streams on every second slot ran at the speed of one.
3. What C answers is translated once: `DecodeFailed` for a batch, `BadModelFile` for a file.
4. Vectors have a context of their own, made at first use: pooling is a property of a context.

Longer than other modules, since this is the only one that may import `llama_cpp`.
"""

from __future__ import annotations

import ctypes
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import llama_cpp as c
import numpy as np
from llguidance import LLTokenizer
from llguidance.llamacpp import lltokenizer_from_vocab

from rbee.errors import BadModelFile, BadRequest
from rbee.worker.engine.backend import Chunk, DecodeFailed, Row

log = logging.getLogger(__name__)
_ERROR = 4
_errors: deque[str] = deque(maxlen=4)
"""What llama.cpp last said went wrong: its functions return no reasons."""
MAX_META_BYTES = 1_048_576
_POOLED = {
    str(c.LLAMA_POOLING_TYPE_MEAN),
    str(c.LLAMA_POOLING_TYPE_CLS),
    str(c.LLAMA_POOLING_TYPE_LAST),
}


@c.llama_log_callback  # type: ignore[untyped-decorator]
def _to_log(level: int, text: bytes, _: Any) -> None:
    """llama.cpp's own messages; all but its errors are detail to us."""
    line = text.decode("utf-8", "replace").rstrip()
    failed = level == _ERROR
    if failed:
        _errors.append(line.strip())
    if line.strip("."):
        log.log(logging.ERROR if failed else logging.DEBUG, "llama.cpp: %s", line)


def start() -> None:
    """Once per process, before anything else of llama.cpp."""
    c.llama_log_set(_to_log, ctypes.c_void_p(0))
    c.llama_backend_init()


def supports_gpu() -> bool:
    return bool(c.llama_supports_gpu_offload())


class LlamaVocabulary:
    """The tokens of a loaded model; every method may be called from any thread."""

    def __init__(self, model: Any) -> None:
        self._pointer = c.llama_model_get_vocab(model)
        self.size: int = c.llama_vocab_n_tokens(self._pointer)
        self._pieces: list[bytes | None] = [None] * self.size
        self.adds_bos = bool(c.llama_vocab_get_add_bos(self._pointer))

    def tokenize(self, text: str, *, add_special: bool) -> list[int]:
        raw = text.encode()
        room = len(raw) + 16
        ids = (c.llama_token * room)()
        count = c.llama_tokenize(self._pointer, raw, len(raw), ids, room, add_special, True)
        if count < 0:
            raise BadRequest(f"The tokenizer cannot read this text ({count}).", path="$.prompt")
        return list(ids[:count])

    def piece(self, token: int) -> bytes:
        found = self._pieces[token]
        if found is None:
            found = self._pieces[token] = self._spelled(token, special=False)
        return found

    def spelled(self, token: int) -> str:
        """The token's text also when it is a control token; empty for none (a negative id)."""
        return self._spelled(token, special=True).decode("utf-8", "replace") if token >= 0 else ""

    def is_end(self, token: int) -> bool:
        return bool(c.llama_vocab_is_eog(self._pointer, token))

    @property
    def bos(self) -> str:
        return self.spelled(c.llama_vocab_bos(self._pointer))

    @property
    def eos(self) -> str:
        return self.spelled(c.llama_vocab_eos(self._pointer))

    @cached_property
    def guide(self) -> LLTokenizer:
        """For constrained output; about a second for 150,000 tokens, made at first use."""
        return lltokenizer_from_vocab(self._pointer)

    def _spelled(self, token: int, *, special: bool) -> bytes:
        room = 128
        while True:
            buffer = ctypes.create_string_buffer(room)
            count = c.llama_token_to_piece(self._pointer, token, buffer, room, 0, special)
            if count >= 0:
                return buffer.raw[:count]
            room = -count


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
        self._model = _load(path, device, gpu_layers, on_progress)
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
        self._batch = _Batch(self._batch_tokens)

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
        batch = _Batch(len(tokens))
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


def _load(path: Path, device: str, gpu_layers: int, on_progress: Callable[[float], None]) -> Any:
    params = c.llama_model_default_params()
    params.n_gpu_layers = 0 if device == "cpu" else gpu_layers
    params.use_extra_bufts = not _uses_amx()
    kind, _, number = device.partition(":")
    if kind == "cuda" and number:
        params.split_mode = c.LLAMA_SPLIT_MODE_NONE
        params.main_gpu = int(number)

    @c.llama_progress_callback  # type: ignore[untyped-decorator]
    def progress(part: float, _: Any) -> bool:
        on_progress(part)
        return True

    params.progress_callback = progress
    _errors.clear()
    model = c.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        why = _errors[0].rpartition("error loading model: ")[2] if _errors else "no reason given"
        raise BadModelFile(
            f"llama.cpp cannot load {path.name}: {why}.",
            hint="the worker's log says why; the file may be broken or of an unknown architecture",
        )
    return model


def _uses_amx() -> bool:
    """GCC 12 miscompiles llama.cpp's AMX kernels (half of the tile configuration stays whatever was
    on the stack): prompts then crash the process. The launcher builds without AMX; a build that has
    it is run without the buffers that use it, which costs some speed and is always right."""
    found = b"AMX_INT8 = 1" in c.llama_print_system_info()
    if found:
        log.warning("llama.cpp was built with AMX, which is not safe; running without it")
    return found


class _Batch:
    """A `llama_batch` over numpy arrays."""

    def __init__(self, room: int) -> None:
        self._tokens = np.zeros(room, np.int32)
        self._positions = np.zeros(room, np.int32)
        self._slots = np.zeros(room, np.int32)
        self._outputs = np.zeros(room, np.int8)
        self._ones = np.ones(room, np.int32)
        first = self._slots.ctypes.data
        self._pointers = (ctypes.POINTER(c.llama_seq_id) * room)(
            *(ctypes.cast(first + 4 * i, ctypes.POINTER(c.llama_seq_id)) for i in range(room))
        )
        self.ends: list[int] = []
        """For each chunk, where its last token stands."""
        self.c = c.llama_batch(
            n_tokens=0,
            token=_pointer(self._tokens, c.llama_token),
            embd=None,
            pos=_pointer(self._positions, c.llama_pos),
            n_seq_id=_pointer(self._ones, ctypes.c_int32),
            seq_id=self._pointers,
            logits=_pointer(self._outputs, ctypes.c_int8),
        )

    def fill(self, chunks: Sequence[Chunk], *, all_outputs: bool = False) -> None:
        """Lay the chunks out one after the other."""
        at = 0
        self.ends.clear()
        for chunk in chunks:
            end = at + len(chunk.tokens)
            self._tokens[at:end] = chunk.tokens
            self._positions[at:end] = range(chunk.start, chunk.start + len(chunk.tokens))
            self._slots[at:end] = chunk.slot
            self._outputs[at:end] = all_outputs
            self._outputs[end - 1] = all_outputs or chunk.ripe
            self.ends.append(end - 1)
            at = end
        self.c.n_tokens = at


def _pointer(array: Any, kind: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(kind))
