"""A real queen, stub workers and an HTTP client, for the tests of this room."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.http import ask
from tests.processes import Started, role, started

WITHIN_S = 10.0


@contextmanager
def queen(**settings: object) -> Iterator[Started]:
    """A queen that beats fast and settles fast."""
    with role("queen", {"beat_s": 0.2, "settle_s": 0.3, **settings}) as process:
        yield process


@contextmanager
def stub(of: str, **flags: object) -> Iterator[Started]:
    """A stub worker that reports to the queen at `of`; entered when she knows it."""
    given = [f for k, v in flags.items() for f in (f"--{k}", str(v))]
    command = [sys.executable, "-m", "tests.queen.stub_worker", "--queen", of, *given]
    with started(command) as process:
        if of:
            until(lambda: any(w["worker"]["url"] == process.url for w in status(of)["workers"]))
        yield process


@contextmanager
def stub_hive(of: str, **flags: object) -> Iterator[Started]:
    """A stub hive that reports to the queen at `of`; entered when she knows it."""
    given = [f for k, v in flags.items() for f in (f"--{k}", str(v))]
    command = [sys.executable, "-m", "tests.queen.stub_hive", "--queen", of, *given]
    with started(command) as process:
        until(lambda: any(h["hive"]["url"] == process.url for h in status(of)["hives"]))
        yield process


def status(url: str) -> dict[str, Any]:
    found: dict[str, Any] = ask("GET", f"{url}/v1/status").json()
    return found


def until(fact: Callable[[], object], within_s: float = WITHIN_S) -> None:
    """Return when `fact()` is true; fail when it does not become so in time."""
    ends = time.monotonic() + within_s
    while not fact():
        assert time.monotonic() < ends, f"not so within {within_s} s"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def a_queen() -> Iterator[str]:
    """One queen with one quick and one slow stub worker, for tests that leave her as she was."""
    with (
        queen() as process,
        stub(process.url, id="quick"),
        stub(process.url, id="slow", model="slow-model", gap_s=0.05),
    ):
        yield process.url
