"""A whole rbee for tests: a real queen and a real hive on free ports, with a home of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from rbee.client.sync import Client
from tests.processes import Started, started

T = TypeVar("T")
FACT_S = 20.0
RBEE = (sys.executable, "-m", "rbee.main")


@dataclass
class Stack:
    """Where it is, and how commands reach it."""

    queen: str
    hive: str
    home: Path
    env: dict[str, str]

    @property
    def client(self) -> Client:
        return Client(queen=self.queen, hive=self.hive)

    def run(self, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """A command line against this stack."""
        return subprocess.run(
            [*RBEE, *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def environment(home: Path, queen: int, hive: int, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RBEE_")}
    return {
        **kept,
        "RBEE_HOME": str(home),
        "RBEE_QUEEN_URL": f"http://127.0.0.1:{queen}",
        "RBEE_HIVE_URL": f"http://127.0.0.1:{hive}",
        **more,
    }


@contextmanager
def stack(home: Path, **more: str) -> Iterator[Stack]:
    """Queen and hive in one process, as `rbee serve` runs them."""
    queen, hive = free_ports(2)
    env = environment(home, queen, hive, **more)
    flags = ["--queen-port", str(queen), "--hive-port", str(hive)]
    with started([*RBEE, "serve", *flags], env):
        made = Stack(env["RBEE_QUEEN_URL"], env["RBEE_HIVE_URL"], home, env)
        fact(lambda: made.client.status().hives, "the hive is known")
        yield made


@contextmanager
def role(name: str, env: Mapping[str, str], *flags: str) -> Iterator[Started]:
    """One role of its own, by the command that a person types."""
    with started([*RBEE, "serve", "--role", name, *flags], env) as process:
        yield process


def fact(look: Callable[[], T | None], what: str, limit_s: float = FACT_S) -> T:
    """Wait until `look()` gives something true; the tests' only way of waiting."""
    end = time.monotonic() + limit_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit_s:.0f} s: {what}; last seen {found!r}")
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(pid: int) -> None:
    """As a crash would."""
    os.kill(pid, signal.SIGKILL)


def chat(text: str, **fields: Any) -> dict[str, Any]:
    """An `infer` operation with one user message, for raw HTTP."""
    return {
        "operation": "infer",
        "model": "bee",
        "messages": [{"role": "user", "content": text}],
        **fields,
    }
