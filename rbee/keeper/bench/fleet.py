"""Throw-away servers for a measurement: own home, free ports, ended by their own ids."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Empty, Queue
from typing import IO

from rbee.errors import SpawnFailed

READY_S = 120.0
STOP_S = 10.0
PYTHON = (sys.executable, "-P", "-m", "rbee.main")


@contextmanager
def home() -> Iterator[dict[str, str]]:
    """An environment whose rbee writes into a folder that is gone afterwards, on free ports."""
    with tempfile.TemporaryDirectory(prefix="rbee-bench-") as folder:
        queen, hive = free_ports(2)
        kept = {k: v for k, v in os.environ.items() if not k.startswith("RBEE_")}
        yield {
            **kept,
            "RBEE_HOME": folder,
            "RBEE_QUEEN_URL": f"http://127.0.0.1:{queen}",
            "RBEE_HIVE_URL": f"http://127.0.0.1:{hive}",
        }


def free_ports(count: int) -> list[int]:
    """Ports that are free now; somebody else may still take them before they are used."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def serving(flags: Sequence[str], env: Mapping[str, str]) -> Iterator[list[str]]:
    """`rbee serve FLAGS` until the context is left; gives the URLs of its ready lines."""
    log = Path(env["RBEE_HOME"]) / "bench.log"
    with log.open("ab") as errors:
        child = subprocess.Popen(
            [*PYTHON, "serve", *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=dict(env),
        )
    try:
        assert child.stdout is not None
        yield _ready(child.stdout, 1 if "--role" in flags else 2, log)
    finally:
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(STOP_S)
        if child.stdout is not None:
            child.stdout.close()


def _ready(pipe: IO[bytes], count: int, log: Path) -> list[str]:
    lines: Queue[bytes] = Queue(4_096)

    def read() -> None:
        for line in pipe:
            lines.put(line)
        lines.put(b"")

    threading.Thread(target=read, daemon=True).start()
    urls: list[str] = []
    while len(urls) < count:
        try:
            line = lines.get(timeout=READY_S)
        except Empty:
            raise SpawnFailed(f"A server was not ready after {READY_S:.0f} s.") from None
        if not line:
            raise SpawnFailed(f"A server ended at its start:\n{log.read_text('utf-8')[-2_000:]}")
        if line.startswith(b"ready "):
            urls.append(line.split()[1].decode())
    return urls
