"""Throw-away processes, to be measured or hurt: own home, free ports, ended by their own ids."""

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

from rbee.errors import SpawnFailed

READY_S = 120.0
STOP_S = 10.0
PYTHON = (sys.executable, "-P", "-m", "rbee.main")


@contextmanager
def home() -> Iterator[dict[str, str]]:
    """An environment whose rbee writes into a folder that is gone afterwards, on free ports."""
    with tempfile.TemporaryDirectory(prefix="rbee-") as folder:
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
    with running([*PYTHON, "serve", *flags], env) as child:
        yield [child.ready() for _ in range(1 if "--role" in flags else 2)]


@contextmanager
def running(command: Sequence[str], env: Mapping[str, str]) -> Iterator[Running]:
    """A process until the context is left; it is told to end, and then made to."""
    log = Path(env["RBEE_HOME"]) / "throwaway.log"
    with log.open("ab") as errors:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=dict(env),
        )
    made = Running(child, log)
    try:
        yield made
    finally:
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(STOP_S)
        made.close()


class Running:
    """A process that says line by line what it has to say; its stderr goes to a file."""

    def __init__(self, child: subprocess.Popen[bytes], log: Path) -> None:
        assert child.stdin is not None and child.stdout is not None
        self.pid = child.pid
        self._log = log
        self._asks, self._says = child.stdin, child.stdout
        self._lines: Queue[bytes] = Queue(4_096)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ready(self) -> str:
        """What follows `ready` on the next line that begins so."""
        while not (line := self.line(READY_S)).startswith(b"ready "):
            pass
        return line.split()[1].decode()

    def line(self, limit_s: float) -> bytes:
        """Its next line. Raises `SpawnFailed` when it ends instead, or is silent for too long."""
        try:
            line = self._lines.get(timeout=limit_s)
        except Empty:
            raise SpawnFailed(f"A process said nothing for {limit_s:.0f} s.") from None
        if not line:
            said = self._log.read_text("utf-8", "replace")[-2_000:]
            raise SpawnFailed(f"A process ended before it had answered:\n{said}")
        return line

    def tell(self, line: bytes) -> None:
        """Write a line to its stdin."""
        self._asks.write(line + b"\n")
        self._asks.flush()

    def close(self) -> None:
        """Let go of the pipes of a process that has ended."""
        self._reader.join(STOP_S)
        self._asks.close()
        self._says.close()

    def _read(self) -> None:
        for line in self._says:
            self._lines.put(line)
        self._lines.put(b"")
