"""The physical limit, asked of a process that does nothing but call `llama_decode`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rbee.keeper.throwaway import READY_S, Running, running

COMMAND = (sys.executable, "-P", "-m", "rbee.worker.engine.llama.bare")
LIMIT_S = 600.0


class Limit:
    """A bare loop with the settings of the worker that it is compared with."""

    def __init__(self, process: Running) -> None:
        self._process = process
        self.buffers: dict[str, int] = self._answer("buffers", READY_S)["buffers"]
        """Bytes that llama.cpp allocated, by `model`, `KV`, `compute` and `output`."""

    def rate(self, width: int, tokens: int, prompt: int) -> float:
        """Tokens a second of so many sequences together."""
        asked = {"width": width, "tokens": tokens, "prompt": prompt}
        self._process.tell(json.dumps(asked).encode())
        seconds: float = self._answer("seconds", LIMIT_S)["seconds"]
        return width * tokens / seconds

    def _answer(self, key: str, limit_s: float) -> dict[str, Any]:
        """Its next line that has `key`; loading a model tells its progress in between."""
        while not (line := self._process.line(limit_s)).startswith(b"{"):
            pass
        found: dict[str, Any] = json.loads(line)
        assert key in found, found
        return found


@contextmanager
def limit(env: Mapping[str, str]) -> Iterator[Limit]:
    """Loaded and idle until asked; gone when the context is left."""
    with running(COMMAND, env) as process:
        yield Limit(process)
