"""What lets a model see: a projector file, through llama.cpp's mtmd.

1. `looking` turns text and pictures into chunks, which tells how long the prompt is; only
   `Look.seen` computes what a picture is to the model, which is what takes time. Between the two
   the caller may refuse.
2. Text and pictures are handed over in parts: nothing that a person writes is a marker.
3. mtmd is not safe for threads: one call at a time, under a lock. Nothing of it outlives
   `looking`.
4. Conversations send their pictures again with every turn, so the last ones' vectors are kept.
   Those that waiting requests hold are counted too: past a limit new pictures are refused.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llama_cpp as c
import numpy as np
from llama_cpp import mtmd_cpp as mtmd
from llama_cpp.llama_cpp import _lib as _libllama
from numpy.typing import NDArray

from rbee.errors import BadModelFile, BadRequest, RbeeError
from rbee.worker.engine.backend import Rows
from rbee.worker.engine.llama import loading
from rbee.worker.engine.llama.kept import Kept
from rbee.worker.engine.llama.parts import cells_of, handed_over, is_image, tokens
from rbee.worker.engine.span import ImageSpan, Picture, Seen, placeholders


class Projector:
    """A loaded projector; every method may be called from any thread."""

    def __init__(
        self, path: Path, model: Any, *, threads: int, device: str, batch_tokens: int
    ) -> None:
        mtmd.mtmd_helper_log_set(loading.to_log, ctypes.c_void_p(0))
        params = mtmd.mtmd_context_params_default()
        params.use_gpu, params.device = device != "cpu", _device(device)
        params.print_timings = False
        params.n_threads = threads
        loading.forget_errors()
        self.pointer = mtmd.mtmd_init_from_file(str(path).encode(), model, params)
        if not self.pointer:
            raise BadModelFile(
                f"llama.cpp cannot use {path.name} as this model's projector:"
                f" {loading.first_error()}.",
                hint="a projector (mmproj) fits only the model that it was made for",
            )
        self._width: int = c.llama_model_n_embd_inp(model)
        self._batch_tokens = batch_tokens
        self._lock = threading.Lock()
        self._kept = Kept()
        if not mtmd.mtmd_support_vision(self.pointer):
            self.close()
            raise BadModelFile(f"{path.name} is a projector for sounds, not for images.")

    @contextmanager
    def looking(self, parts: Sequence[str | Picture], *, add_special: bool) -> Iterator[Look]:
        """The parts of a prompt, measured. Raises `BadRequest` for what mtmd cannot take."""
        chunks = mtmd.mtmd_input_chunks_init()
        try:
            with self._lock, handed_over(parts) as (pointers, count):
                code = mtmd.mtmd_tokenize_from_parts(
                    self.pointer, chunks, pointers, count, add_special
                )
            if code != 0:
                raise BadRequest(f"The projector cannot read this prompt ({code}).")
            look = Look(self, chunks, [part for part in parts if isinstance(part, Picture)])
            self._check(look)
            yield look
        finally:
            mtmd.mtmd_input_chunks_free(chunks)

    def _check(self, look: Look) -> None:
        path = "$.messages"
        if not look.chunks or is_image(look.chunks[-1]):
            why = "The prompt ends with an image: nothing is asked about it."
            raise BadRequest(why, path=path)
        widest = max((cells_of(chunk) for chunk in look.chunks if self.at_once(chunk)), default=0)
        if widest > self._batch_tokens:
            raise BadRequest(
                f"An image is {widest} tokens, which this model takes at once; this worker takes"
                f" {self._batch_tokens}.",
                hint=f"start it with --batch-tokens {widest}",
                path=path,
            )

    def close(self) -> None:
        """Free everything. Idempotent."""
        context, self.pointer = self.pointer, None
        if context:
            mtmd.mtmd_free(context)

    def vectors(self, chunk: Any, name: str) -> Rows:
        """What the model shall take for a picture; computed unless it is known by its name."""
        with self._lock:
            found = self._kept.get(name)
            if found is not None:
                return found
            cells = cells_of(chunk)
            self._kept.make_room(cells * self._width * 4)
            code = mtmd.mtmd_encode_chunk(self.pointer, chunk)
            if code != 0:
                raise RbeeError(f"The projector could not compute an image ({code}).")
            output = mtmd.mtmd_get_output_embd(self.pointer)
            made: Rows = np.ctypeslib.as_array(output, shape=(cells, self._width)).copy()
            self._kept.put(name, made)
            return made

    def positions(self, chunk: Any, start: int, cells: int) -> NDArray[np.int32]:
        """Where a picture's cells stand when it begins at `start`."""
        if not mtmd.mtmd_decode_use_mrope(self.pointer):
            return np.arange(start, start + cells, dtype=np.int32)[None, :]
        tokens = mtmd.mtmd_input_chunk_get_tokens_image(chunk)
        where = (mtmd.mtmd_decoder_pos * cells)()
        mtmd.mtmd_helper_image_get_decoder_pos(tokens, start, where)
        return np.array([(p.t, p.y, p.x, p.z) for p in where], np.int32).T.copy()

    def at_once(self, chunk: Any) -> bool:
        """Whether its cells must be in one batch."""
        return is_image(chunk) and bool(mtmd.mtmd_decode_use_non_causal(self.pointer, chunk))


class Look:
    """A prompt cut into chunks, as long as the `with` lasts."""

    def __init__(self, projector: Projector, chunks: Any, pictures: Sequence[Picture]) -> None:
        self._projector = projector
        self._pictures = pictures
        count = mtmd.mtmd_input_chunks_size(chunks)
        self.chunks = [mtmd.mtmd_input_chunks_get(chunks, number) for number in range(count)]

    @property
    def cells(self) -> int:
        """As of the finished prompt."""
        return sum(cells_of(chunk) for chunk in self.chunks)

    def seen(self) -> Seen:
        """The prompt, with what every picture looks like to the model: this takes the time.
        Raises `Overloaded` when too many pictures are waiting already."""
        ids: list[int] = []
        images: dict[int, ImageSpan] = {}
        for number, chunk in enumerate(self.chunks):
            if not is_image(chunk):
                ids += tokens(chunk)
                continue
            name = self._name(number)
            span = self._span(chunk, name, len(ids))
            images[len(ids)] = span
            ids += placeholders(name, span.places)
        return Seen(ids, images)

    def ids(self) -> list[int]:
        """The token ids alone; what stands for a picture is -1, once for each cell."""
        found: list[int] = []
        for chunk in self.chunks:
            cells = cells_of(chunk)
            found += [-1] * cells if is_image(chunk) else tokens(chunk)
        return found

    def _span(self, chunk: Any, name: str, start: int) -> ImageSpan:
        vectors = self._projector.vectors(chunk, name)
        return ImageSpan(
            vectors,
            self._projector.positions(chunk, start, len(vectors)),
            mtmd.mtmd_input_chunk_get_n_pos(chunk),
            self._projector.at_once(chunk),
        )

    def _name(self, number: int) -> str:
        """Which picture a chunk shows, and which piece of it: projectors may cut one up."""
        mark = mtmd.mtmd_input_chunk_get_id(self.chunks[number])
        earlier = [mtmd.mtmd_input_chunk_get_id(chunk) for chunk in self.chunks[:number]]
        return f"{self._pictures[int(mark)].digest}.{earlier.count(mark)}"


def _device(name: str) -> Any:
    """ggml's device for `cuda:1` and its kind; None leaves the choice to llama.cpp."""
    kind, _, number = name.partition(":")
    if kind != "cuda" or not number:
        return None
    find = getattr(_libllama, "ggml_backend_dev_by_name", None)
    if find is None:  # a platform on which a library does not show those that it needs
        return None
    find.argtypes, find.restype = [ctypes.c_char_p], ctypes.c_void_p
    return find(f"CUDA{number}".encode())
