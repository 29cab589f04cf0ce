"""Real workers on the embedded model, started as a person would start them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.http import ask
from tests.processes import ROOT, Started, started

WITHIN_S = 10.0
COMMAND = [sys.executable, "-m", "rbee.main", "serve", "--role", "worker"]


def flags(**settings: object) -> list[str]:
    return [f for k, v in settings.items() for f in (f"--{k.replace('_', '-')}", str(v))]


@contextmanager
def serving(**settings: object) -> Iterator[Started]:
    """A worker on a free port that is ready. One thread: on a busy machine a second one only waits
    for the first."""
    given = {"model": "bee", "port": 0, "threads": 1, **settings}
    with started([*COMMAND, *flags(**given)]) as process:
        yield process


def failing(*arguments: str, within_s: float = 20.0) -> subprocess.CompletedProcess[str]:
    """Run a worker that cannot start, to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def infer(url: str, said: str | None = None, **fields: Any) -> Any:
    """The whole answer to one request; what is `said` is a user's message."""
    found = ask("POST", f"{url}/v1/infer", request(said, stream=False, **fields))
    assert found.status == 200, found.body
    return found.json()


def request(said: str | None = None, **fields: Any) -> dict[str, Any]:
    """The body of one request."""
    chat = {"messages": [{"role": "user", "content": said}]} if said is not None else {}
    return {"operation": "infer", "model": "bee", **chat, **fields}


def endless(url: str, **fields: Any) -> dict[str, Any]:
    """A request whose answer goes on until the context is full, some 2,000 tokens."""
    ends = [
        ask("POST", f"{url}/tokenize", {"model": "bee", "text": mark}).json()["tokens"]
        for mark in ("<|im_end|>", "<|endoftext|>")
    ]
    bias = {str(token): -100 for [token] in ends}
    return request("Tell me a story.", logit_bias=bias, **fields)


def status(url: str) -> dict[str, Any]:
    found: dict[str, Any] = ask("GET", f"{url}/v1/status").json()
    return found


def until(fact: Callable[[], object], within_s: float = WITHIN_S) -> None:
    """Return when `fact()` is true; fail when it does not become so in time."""
    ends = time.monotonic() + within_s
    while not fact():
        assert time.monotonic() < ends, f"not so within {within_s} s"
        time.sleep(0.01)
