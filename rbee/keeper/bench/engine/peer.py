"""llama.cpp's own server on the same file, when the machine has one: `llama-server`.

Asked through its OpenAI endpoint, streaming, with as many slots and threads as the worker has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from rbee.client.transport import call
from rbee.errors import RbeeError, SpawnFailed
from rbee.keeper.bench.engine.plan import CONTEXT, SLOTS
from rbee.keeper.bench.engine.streams import rate, together
from rbee.keeper.throwaway import READY_S, free_ports, running
from rbee.wire.codec import encode

PATH = "/v1/completions"
LOOK_S = 0.1


class Peer:
    """A `llama-server` that is ready."""

    def __init__(self, url: str) -> None:
        self._url = url

    def rate(self, prompts: Sequence[Sequence[int]], tokens: int) -> float:
        """Tokens a second, greedy, one stream for each prompt."""
        return rate(together(self._url, PATH, [_body(prompt, tokens) for prompt in prompts]))


@contextmanager
def peer(program: Path, file: Path, threads: int, env: Mapping[str, str]) -> Iterator[Peer]:
    """`llama-server` until the context is left."""
    (port,) = free_ports(1)
    cores = threads or psutil.cpu_count(logical=False) or 1
    flags = {"-m": file, "--host": "127.0.0.1", "--port": port, "-np": SLOTS, "-t": cores}
    flags["-c"] = SLOTS * CONTEXT
    command = [str(program), *(str(part) for pair in flags.items() for part in pair)]
    with running(command, env):
        url = f"http://127.0.0.1:{port}"
        _await_healthy(url)
        yield Peer(url)


def _await_healthy(url: str) -> None:
    """It says nothing when it is ready: it has to be asked."""
    ends = time.monotonic() + READY_S
    while True:
        try:
            call("GET", f"{url}/health")
            return
        except RbeeError as exc:
            if time.monotonic() > ends:
                raise SpawnFailed(f"llama-server was not ready after {READY_S:.0f} s.") from exc
            time.sleep(LOOK_S)


def _body(prompt: Sequence[int], tokens: int) -> bytes:
    return encode(
        {
            "prompt": list(prompt),
            "max_tokens": tokens,
            "temperature": 0.0,
            "ignore_eos": True,
            "stream": True,
            "cache_prompt": False,
        }
    )
