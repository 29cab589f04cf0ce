"""Hives as real processes, and what tests ask of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psutil

from tests.http import Answer, ask
from tests.processes import Started, started

STREAM = {"Accept": "text/event-stream"}
ASYNC = {"Prefer": "respond-async"}
SPAWN = {"operation": "worker_spawn", "model": "bee"}


@contextmanager
def stub_hive(stub_flags: str = "", **settings: object) -> Iterator[Started]:
    """A hive whose workers are stubs with these flags."""
    flags = {"port": 0, "queen": "", "id": "desk", "stop_grace_s": 1, **settings}
    argv = [f for k, v in flags.items() for f in (f"--{k}", str(v))]
    command = [sys.executable, "-m", "tests.hive.stub_hive", *argv]
    with started(command, {"STUB_FLAGS": stub_flags}) as made:
        yield made


def submit(
    made: Started, body: Any, headers: Mapping[str, str] | None = None, timeout_s: float = 20
) -> Answer:
    return ask("POST", f"{made.url}/v1/jobs", body, headers, timeout_s)


def workers(made: Started) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = submit(made, {"operation": "worker_process_list"}).json()[
        "workers"
    ]
    return found


def children_of(made: Started, until: Callable[[list[psutil.Process]], bool]) -> None:
    """Wait for a fact about the hive's children, which it is the system's to tell."""
    ends = time.monotonic() + 20
    while not until(psutil.Process(made.pid).children()):
        assert time.monotonic() < ends, psutil.Process(made.pid).children()
        time.sleep(0.02)


def wait_for_state(made: Started, state: str) -> None:
    ends = time.monotonic() + 20
    while [w["state"] for w in workers(made)] != [state]:
        assert time.monotonic() < ends, workers(made)
        time.sleep(0.05)
