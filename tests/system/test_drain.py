"""SIGTERM to each role in the middle of an answer: that finishes, nothing new is taken, it ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.bee.known_answers import ANSWERS
from tests.http import ask, listening
from tests.processes import Started
from tests.system.stack import Stack, alive, chat, environment, fact, free_ports, role

LONG: dict[str, Any] = {"ignore_eos": True, "max_tokens": 800}


class Fleet(Stack):
    """A queen and a hive, each a process of its own, and one worker."""

    roles: dict[str, Started]

    @property
    def worker(self) -> Any:
        return fact(
            lambda: next((w for w in self.client.workers() if w.state == "ready"), None),
            "a worker is ready",
        )


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    queen, hive = free_ports(2)
    env = environment(tmp_path, queen, hive, RBEE_ORPHAN_GRACE_S="1")
    made = Fleet(env["RBEE_QUEEN_URL"], env["RBEE_HIVE_URL"], tmp_path, env)
    with (
        role("queen", env, "--port", str(queen)) as one,
        role("hive", env, "--port", str(hive), "--queen", made.queen) as two,
    ):
        made.roles = {"queen": one, "hive": two}
        answer = ask("POST", f"{made.queen}/v1/jobs", chat("Hello"))
        assert answer.events[-1]["type"] == "done"
        yield made


@contextmanager
def answering(fleet: Fleet) -> Iterator[Iterator[Any]]:
    """A long answer that has begun."""
    body = {"operation": "infer", "model": "bee", "prompt": "The bees", **LONG}
    with listening("POST", f"{fleet.queen}/v1/jobs", body) as (_, events):
        assert any(event["type"] == "token" for _, event in events)
        yield events


def finished(events: Iterator[Any]) -> None:
    *_, (_, last) = events
    assert last["type"] == "done" and last["usage"]["completion_tokens"] == 800


@pytest.mark.parametrize("name", ["queen", "hive"])
def test_a_role_that_shall_end_finishes_what_runs(fleet: Fleet, name: str) -> None:
    started = fleet.roles[name]
    worker = fleet.worker
    with answering(fleet) as events:
        started.child.terminate()
        fact(lambda: ask("GET", f"{started.url}/ready").status == 503, "it drains")
        assert ask("GET", f"{started.url}/health").status == 200
        body = chat("Hello") if name == "queen" else {"operation": "worker_spawn", "model": "bee"}
        refused = ask("POST", f"{started.url}/v1/jobs", body)
        assert (refused.status, refused.json()["error"]["code"]) == (503, "draining")
        finished(events)
    began = time.monotonic()
    assert started.child.wait(10) == 0
    assert time.monotonic() - began < 5
    assert alive(worker.pid) == (name == "queen")
    assert "draining, 1 answer to finish" in started.stderr()
    assert "Traceback" not in started.stderr()


def test_a_worker_that_shall_end_finishes_what_runs_and_comes_back(fleet: Fleet) -> None:
    before = fleet.worker
    with answering(fleet) as events:
        os.kill(before.pid, signal.SIGTERM)
        fact(lambda: ask("GET", f"{before.url}/ready").status == 503, "it drains")
        finished(events)
    after = fact(lambda: fleet.worker if fleet.worker.pid != before.pid else None, "it is back")
    assert after.worker_id == before.worker_id
    answer = ask("POST", f"{fleet.queen}/v1/jobs", chat("Hello"))
    assert "".join(e.get("text", "") for e in answer.events) == ANSWERS["Hello"]


@pytest.mark.parametrize("name", ["queen", "hive"])
def test_a_second_signal_ends_it_in_the_middle(fleet: Fleet, name: str) -> None:
    started = fleet.roles[name]
    with answering(fleet) as events:
        started.child.terminate()
        fact(lambda: ask("GET", f"{started.url}/ready").status == 503, "it drains")
        began = time.monotonic()
        started.child.send_signal(signal.SIGINT)
        assert started.child.wait(10) == 0
        assert time.monotonic() - began < 5
        *_, (_, last) = events
        assert last["type"] == "failed"
