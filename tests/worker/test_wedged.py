"""Wedged is not alive: an engine that hangs while everything around it goes on is out of rotation
within five seconds, and its answers go on elsewhere.

The queen is real, and so is all of the workers but their model.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from tests.http import ask, listening
from tests.processes import Started, role, started
from tests.worker.bees import status, until

ROTATION_S = 5.0
TEXT = "An answer, once begun, finishes. " * 6
INFER: dict[str, Any] = {"operation": "infer", "model": "echo", "prompt": TEXT}


@contextmanager
def queen() -> Iterator[Started]:
    """With heartbeats as rare as they are for everybody."""
    with role("queen", {"settle_s": 0.3}) as process:
        yield process


@contextmanager
def echoing(of: Started, **flags: object) -> Iterator[Started]:
    """A worker that the queen knows."""
    settings = {"queen": of.url, "port": 0, "drain_s": 0.2, **flags}
    given = [f for k, v in settings.items() for f in (f"--{k}", str(v))]
    with started([sys.executable, "-m", "tests.worker.hanging", *given]) as process:
        until(lambda: process.url in known(of))
        yield process
        process.kill()


def known(of: Started) -> dict[str, dict[str, Any]]:
    """The queen's workers, by their addresses."""
    return {w["worker"]["url"]: w["worker"] for w in status(of.url)["workers"]}


def hang(worker: Started) -> None:
    worker.child.send_signal(signal.SIGUSR2)


def said(events: list[dict[str, Any]]) -> str:
    return "".join(event.get("text", "") for event in events)


@pytest.mark.parametrize("place", ["decode", "rows"])
def test_an_answer_goes_on_when_its_engine_hangs(place: str) -> None:
    with (
        queen() as q,
        echoing(q, id="a", pace_s=0.02, hangs_in=place) as a,
        listening("POST", f"{q.url}/v1/jobs", INFER) as (_, events),
    ):
        seen = [next(events) for _ in range(4)]
        with echoing(q, id="b"):
            hang(a)
            began = time.monotonic()
            for number, event in events:
                seen.append((number, event))
                if event["type"] == "moved":
                    left_s = time.monotonic() - began
                    assert status(a.url)["step_age_s"] > 3, "its event loop goes on"
        assert left_s < ROTATION_S
        assert [number for number, _ in seen] == list(range(len(seen)))
        told = [event for _, event in seen]
        [moved] = [event for event in told if event["type"] == "moved"]
        assert moved["worker_id"] == "a" and "a step of it ran for" in moved["why"]
        done = told[-1]
        assert (done["type"], done["worker_id"], done["migrations"]) == ("done", "b", 1)
        assert said(told) == TEXT
        assert "hangs" in a.stderr()


@pytest.mark.parametrize("place", ["trim", "decode"])
def test_nobody_is_sent_to_an_engine_that_takes_no_command(place: str) -> None:
    """It hangs at the very first request, with free slots and an empty line."""
    with queen() as q, echoing(q, id="a", hangs_in=place) as a, ThreadPoolExecutor(1) as pool:
        hang(a)
        first = pool.submit(ask, "POST", f"{q.url}/v1/jobs", INFER)
        until(lambda: "hangs" in a.stderr())
        began = time.monotonic()
        with echoing(q, id="b"):
            answers = [first.result(ROTATION_S)]
            assert time.monotonic() - began < ROTATION_S
            answers += [ask("POST", f"{q.url}/v1/jobs", INFER) for _ in range(4)]
            beat = known(q)[a.url]
        assert [said(answer.events) for answer in answers] == [TEXT] * 5
        assert [answer.events[-1]["worker_id"] for answer in answers] == ["b"] * 5
        assert beat["step_age_s"] > beat["step_limit_s"] > 0, (
            "it is heard, and known for what it is"
        )
