"""Real processes for tests: started, awaited by their ready line, always reaped.

A process that dies before it is ready fails the test with what it wrote to stderr.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]
READY_S = 30.0
STOP_S = 10.0
IDLE_S = 1.5
"""In which an idle role ends, at the first try: a second, and half of one for a busy machine. The
second itself is asserted in `tests/system/test_idle_end.py`, as the best of three."""


@dataclass
class Started:
    """A running process and its address."""

    child: subprocess.Popen[bytes]
    url: str
    log: IO[bytes]

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stderr(self) -> str:
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace")

    def kill(self) -> None:
        """As a crash would: no farewell."""
        self.child.kill()
        self.child.wait(STOP_S)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.child.terminate()
        return self.child.wait(STOP_S)


@contextmanager
def started(command: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[Started]:
    """Run `command` until the context is left; entered when it has printed `ready <url>`."""
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory() as home:
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "RBEE_HOME": home, **(env or {})},
        )
        try:
            yield Started(child, _await_ready(child, log), log)
        finally:
            _reap(child)


@contextmanager
def role(
    name: str, settings: Mapping[str, object], env: Mapping[str, str] | None = None
) -> Iterator[Started]:
    """A role of rbee on a free port (unless `port` is given), with `settings` as its flags."""
    flags = [f for k, v in {"port": 0, **settings}.items() for f in (f"--{k}", str(v))]
    with started([sys.executable, "-m", "tests.roles", name, *flags], env) as process:
        yield process


def _await_ready(child: subprocess.Popen[bytes], log: IO[bytes]) -> str:
    assert child.stdout is not None
    ends, seen = time.monotonic() + READY_S, b""
    while time.monotonic() < ends:
        if select.select([child.stdout], [], [], 0.5)[0]:
            chunk = os.read(child.stdout.fileno(), 65_536)
            seen += chunk
            for line in seen.split(b"\n")[:-1]:
                if line.startswith(b"ready "):
                    return line.removeprefix(b"ready ").decode()
            if not chunk:
                break
    _reap(child)
    log.seek(0)
    raise AssertionError(f"no ready line; stdout {seen!r}, stderr {log.read()!r}")


def _reap(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(STOP_S)
    if child.stdout is not None:
        child.stdout.close()
