"""The physical limit: a loop over `llama_decode` and nothing else. `rbee bench engine` compares
with it; nothing here serves anybody.

1. A process of its own, with the worker's settings (`RBEE_<KEY>`) and the worker's own loading, so
   that model, context parameters and threads can never differ from what they are compared with.
2. It answers a line `{"width": 8, "tokens": 64, "prompt": 16}` on stdin with a line of JSON: the
   seconds that `llama_decode` took for so many steps of so many sequences, one token and one row
   of logits each, behind prompts of so many tokens. It sleeps while nobody asks.
3. It also tells what llama.cpp allocated, which the worker allocates as well.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any

import llama_cpp as c

from rbee.config import WorkerConfig, load
from rbee.worker import role
from rbee.worker.engine.backend import Chunk
from rbee.worker.engine.llama import loading
from rbee.worker.engine.llama.backend import LlamaBackend
from rbee.worker.engine.llama.batch import Batch
from rbee.worker.files import find_model

TOKEN = 300
"""Any would do: what a token costs does not depend on which it is."""


class Buffers(logging.Handler):
    """What llama.cpp says that it allocates, off its log: bytes by `model`, `KV`, `compute` and
    `output`. Parts of the file that are only mapped are not allocated, and of several contexts the
    last is the one that stays: those before only tried something out."""

    CONTEXT = re.compile(r"llama_context: n_ctx += ")
    SAID = re.compile(r"(\S+) +(model|KV|RS|compute|output) buffer size = +([0-9.]+) MiB")

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.bytes: dict[str, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if self.CONTEXT.search(said):
            self.bytes = {kind: size for kind, size in self.bytes.items() if kind == "model"}
        found = self.SAID.search(said)
        if found is not None and not found[1].endswith("_Mapped"):
            size = int(float(found[3]) * 2**20)
            self.bytes[found[2]] = self.bytes.get(found[2], 0) + size


class Bare:
    """A loaded model, driven by hand."""

    def __init__(self, backend: LlamaBackend, room: int) -> None:
        self._context = backend._context
        self._slots = backend.slots
        self._room = room
        self._batch = Batch(room)

    def seconds(self, width: int, tokens: int, prompt: int) -> float:
        """What `llama_decode` takes for `tokens` steps of `width` sequences."""
        c.llama_memory_clear(c.llama_get_memory(self._context), True)
        for slot in range(width):
            for start in range(0, prompt, self._room):
                count = min(self._room, prompt - start)
                self._decode([Chunk(slot, start, [TOKEN + slot] * count)])
        return sum(
            self._decode([Chunk(slot, prompt + step, [TOKEN], 1) for slot in range(width)])
            for step in range(tokens)
        )

    def _decode(self, chunks: list[Chunk]) -> float:
        """Filling the batch is not part of it, waiting for an accelerator is."""
        self._batch.fill(chunks)
        began = time.perf_counter()
        code = c.llama_decode(self._context, self._batch.c)
        c.llama_synchronize(self._context)
        took = time.perf_counter() - began
        if code != 0:
            raise SystemExit(f"llama_decode returned {code}")
        return took


def main() -> None:
    config = load(WorkerConfig, None)
    buffers = Buffers()
    logger = logging.getLogger(loading.__name__)
    logger.setLevel(logging.DEBUG)
    logger.addHandler(buffers)
    backend = role.load(config, find_model(config.model), {})
    logger.removeHandler(buffers)
    try:
        bare = Bare(backend, config.batch_tokens)
        _say({"buffers": buffers.bytes})
        for line in sys.stdin:
            asked = json.loads(line)
            _say({**asked, "seconds": bare.seconds(**asked)})
    finally:
        backend.close()


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
