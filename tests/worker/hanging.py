"""A worker over the echo, as a process with everything that a real one has but a model; it can be
made to hang: `python -m tests.worker.hanging --queen URL --id a --pace_s 0.02 --hangs_in decode`.

At SIGUSR2 its engine's thread is held where `--hangs_in` says, and never let go: while it computes
(`decode`), between two batches (`rows`: it takes no command any more), or before the first batch of
a request (`trim`). Its event loop and its heartbeats go on.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Sequence
from itertools import pairwise

from rbee import config
from rbee.config import WorkerConfig
from rbee.wire import server
from rbee.worker.engine.backend import Chunk, Rows
from rbee.worker.serving import serving
from tests.worker.echo import EchoBackend, echo_model


class HangingBackend(EchoBackend):
    """An echo that takes `pace_s` for a batch, until it hangs."""

    def __init__(self, pace_s: float, hangs_in: str) -> None:
        super().__init__()
        self._pace_s = pace_s
        self._hangs_in = hangs_in
        self._is_hung = threading.Event()

    def hang(self, *_: object) -> None:
        self._is_hung.set()

    def decode(self, chunks: Sequence[Chunk], adapter: str = "") -> None:
        self._pass("decode")
        time.sleep(self._pace_s)
        super().decode(chunks, adapter)

    def rows(self) -> Rows:
        self._pass("rows")
        return super().rows()

    def trim(self, slot: int, length: int) -> bool:
        self._pass("trim")
        return super().trim(slot, length)

    def _pass(self, place: str) -> None:
        if place == self._hangs_in and self._is_hung.is_set():
            sys.stderr.write("hangs\n")
            sys.stderr.flush()
            threading.Event().wait()


async def _serve(settings: WorkerConfig, backend: HangingBackend) -> None:
    socket = server.listen(settings.bind, settings.port or 0)
    async with serving(settings, socket, backend, echo_model(backend)) as served:
        await server.serve(served)


def main() -> None:
    given = {a.removeprefix("--"): b for a, b in list(pairwise(sys.argv[1:]))[::2]}
    backend = HangingBackend(float(given.pop("pace_s", "0")), given.pop("hangs_in", "decode"))
    signal.signal(signal.SIGUSR2, backend.hang)
    settings = config.load(WorkerConfig, None, {}, given)
    server.run(lambda: _serve(settings, backend))


if __name__ == "__main__":
    main()
