"""A queen is killed and another one is there in her place: what she knows again, how soon, and what
nobody can be attached to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rbee.queen.relay import DEADLINE_SLACK_MS
from rbee.wire.beats import RETRY_S
from rbee.wire.codec import plain
from tests.http import ask, listening
from tests.processes import Started
from tests.queen.conftest import queen, status, stub, stub_hive, until
from tests.queen.fleets import worker
from tests.system.stack import free_ports

BEAT_S = 1.0
"""As by default."""
TWO_BEATS_S = max(2 * BEAT_S, RETRY_S + BEAT_S)
"""Two of the usual ones; and who is not heard tries again after `RETRY_S` at the latest."""
SETTLE_S = 0.3
TEXT = " ".join(f"w{number}" for number in range(40))
INFER: dict[str, Any] = {"operation": "infer", "model": "bee", "prompt": TEXT}
OTHERS: dict[str, dict[str, Any]] = {
    "several prompts": {"model": "bee", "prompt": [TEXT, TEXT], "max_tokens": 99},
    "echo": {"model": "bee", "prompt": TEXT, "max_tokens": 99, "echo": True},
}
JOB = "job-0123456789abcdef"
NAMED = {"X-Rbee-Job-Id": JOB}


@contextmanager
def replaced(first: Started, **settings: object) -> Iterator[Started]:
    """Another queen at the address of one that is killed now."""
    first.kill()
    with queen(port=first.port, **settings) as second:
        yield second


def busy(one: Started) -> int:
    found: int = ask("GET", f"{one.url}/state").json()["busy"]
    return found


def running(url: str) -> list[str]:
    return [j["job_id"] for j in ask("GET", f"{url}/v1/jobs").json()["jobs"]]


def test_the_fleet_and_its_jobs_are_known_again_within_two_beats() -> None:
    with (
        queen(beat_s=BEAT_S) as first,
        stub(first.url, id="a", gap_s=0.2),
        stub(first.url, id="b"),
        stub_hive(first.url),
        listening("POST", f"{first.url}/v1/jobs", INFER, NAMED) as (_, events),
    ):
        next(events)
        with replaced(first, beat_s=BEAT_S) as second:
            ends = time.monotonic() + TWO_BEATS_S
            until(lambda: JOB in running(second.url), ends - time.monotonic())
            until(lambda: len(status(second.url)["workers"]) == 2, ends - time.monotonic())
            until(lambda: len(status(second.url)["hives"]) == 1, ends - time.monotonic())
            short = {**INFER, "prompt": "a b", "worker_id": "b"}
            assert ask("POST", f"{second.url}/v1/jobs", short).events[-1]["type"] == "done"
            ask("DELETE", f"{second.url}/v1/jobs/{JOB}")


def test_an_answer_taken_over_is_counted_and_keeps_a_deadline() -> None:
    """Also when it has to move once more. Its first token was somebody else's to measure."""
    limit_ms = 30_000
    with (
        queen() as first,
        stub(first.url, id="a", gap_s=0.1) as a,
        stub(first.url, id="b") as b,
        listening("POST", f"{first.url}/v1/jobs", {**INFER, "deadline_ms": limit_ms}, NAMED) as (
            _,
            events,
        ),
    ):
        next(events)
        with replaced(first, settle_s=5) as second:
            place = f"{second.url}/v1/jobs/{JOB}/stream"
            with listening("GET", place) as (_, rest):
                seen = [next(rest)]
                a.kill()
                seen += list(rest)
            assert "".join(event.get("text", "") for _, event in seen) == TEXT
            assert seen[-1][1]["migrations"] == 1
            [left_ms] = ask("GET", f"{b.url}/state").json()["deadlines_ms"]
            assert 0 < left_ms < limit_ms + 2 * DEADLINE_SLACK_MS
            metrics = ask("GET", f"{second.url}/metrics").body.decode()
            assert 'rbee_requests_total{model="bee",outcome="ok"} 1.0' in metrics
            assert "rbee_first_token_seconds_count" not in metrics


def test_an_answer_taken_over_and_moved_is_cancelled_with_its_last_reader() -> None:
    """The worker that goes on was asked by nobody else."""
    with (
        queen() as first,
        stub(first.url, id="a", gap_s=0.2) as a,
        stub(first.url, id="b", gap_s=0.2) as b,
        listening("POST", f"{first.url}/v1/jobs", INFER, NAMED) as (_, events),
    ):
        next(events)
        with replaced(first, settle_s=5, orphan_grace_s=1) as second:
            with listening("GET", f"{second.url}/v1/jobs/{JOB}/stream") as (_, rest):
                next(rest)
                until(lambda: len(status(second.url)["workers"]) == 2)
                a.kill()
                until(lambda: busy(b) == 1)
            until(lambda: busy(b) == 0, 3)


def test_a_job_whose_worker_does_not_answer_is_not_called_unknown() -> None:
    [port] = free_ports(1)
    beat = plain(worker("a", url=f"http://127.0.0.1:{port}", jobs=[JOB]))
    with queen(beat_s=5) as q:
        assert ask("POST", f"{q.url}/v1/heartbeats", beat).status == 200
        found = ask("GET", f"{q.url}/v1/jobs/{JOB}/stream")
        assert (found.status, found.json()["error"]["code"]) == (503, "unavailable")
        assert int(found.headers["retry-after"]) >= 1


@pytest.mark.parametrize("what", OTHERS)
def test_what_cannot_be_attached_to_is_a_404_and_its_workers_stop(what: str) -> None:
    body = {**OTHERS[what], "stream": True}
    with (
        queen() as first,
        stub(first.url, id="a", gap_s=0.2) as a,
        listening("POST", f"{first.url}/v1/completions", body, NAMED) as (_, events),
    ):
        next(events)
        with replaced(first, settle_s=SETTLE_S) as second:
            until(lambda: busy(a) == 0, 1)
            until(lambda: status(second.url)["workers"])
            for method, path in (("GET", "/stream"), ("GET", ""), ("DELETE", "")):
                began = time.monotonic()
                found = ask(method, f"{second.url}/v1/jobs/{JOB}{path}")
                assert time.monotonic() - began < SETTLE_S + 1
                assert (found.status, found.json()["error"]["code"]) == (404, "job_not_found")
            assert JOB not in running(second.url)


@pytest.mark.parametrize("what", OTHERS)
def test_a_second_queen_does_not_take_what_cannot_be_attached_to(what: str) -> None:
    """She hears of it from the worker, and its own queen goes on with it."""
    body = {**OTHERS[what], "prompt": [TEXT[:30]] * 2} if "several" in what else OTHERS[what]
    with (
        queen() as first,
        queen(beat_s=5) as second,
        stub(first.url, gap_s=0.05) as a,
        listening("POST", f"{first.url}/v1/completions", {**body, "stream": True}, NAMED) as (
            _,
            events,
        ),
    ):
        next(events)
        beat = status(first.url)["workers"][0]["worker"]
        told = {**beat, "from": "worker", "jobs": [JOB], "url": a.url}
        assert ask("POST", f"{second.url}/v1/heartbeats", told).status == 200
        found = ask("GET", f"{second.url}/v1/jobs/{JOB}/stream")
        assert (found.status, found.json()["error"]["code"]) == (404, "job_not_found")
        assert [e["choices"][0]["finish_reason"] for _, e in events][-1] == "stop"
