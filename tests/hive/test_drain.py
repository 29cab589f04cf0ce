"""Draining a worker, a hive, and a hive that is asked to end; and workers that do not get on."""

from __future__ import annotations

import signal
import time

import psutil
import pytest

from tests.hive.ear import ear
from tests.hive.served import (
    ASYNC,
    SPAWN,
    children_of,
    stub_hive,
    submit,
    wait_for_state,
    workers,
)
from tests.hive.stub_worker import beat
from tests.http import ask
from tests.processes import IDLE_S

DRAIN = {"operation": "hive_drain"}


def test_a_worker_may_finish_before_it_is_deleted() -> None:
    with ear() as queen, stub_hive("--drain 0.6", queen=queen.url) as made:
        spawned = submit(made, SPAWN).json()
        began = time.monotonic()
        named = {"operation": "worker_process_delete", "worker_id": spawned["worker_id"]}
        assert submit(made, {**named, "drain": True}).json() == {"deleted": spawned["worker_id"]}
        assert 0.5 < time.monotonic() - began < 3
        assert not psutil.pid_exists(spawned["pid"])
        queen.until(lambda b: [w["state"] for w in b["workers"]] == ["draining"])
        queen.until(lambda b: b["seq"] > 1 and b["workers"] == [])


def test_one_that_does_not_finish_is_ended_all_the_same() -> None:
    with stub_hive("--drain 60") as made:
        spawned = submit(made, SPAWN).json()
        named = {"operation": "worker_process_delete", "pid": spawned["pid"]}
        began = time.monotonic()
        assert submit(made, {**named, "drain": True, "drain_s": 0.3}).status == 200
        assert 0.25 < time.monotonic() - began < 3
        assert workers(made) == []


def test_without_a_drain_nobody_waits() -> None:
    with stub_hive("--drain 60") as made:
        spawned = submit(made, SPAWN).json()
        began = time.monotonic()
        submit(made, {"operation": "worker_process_delete", "pid": spawned["pid"]})
        assert time.monotonic() - began < 2


def test_a_drained_worker_goes_though_nobody_waits_for_it() -> None:
    with stub_hive("--drain 0.5") as made:
        pid = submit(made, SPAWN).json()["pid"]
        body = {"operation": "worker_process_delete", "pid": pid, "drain": True}
        job = submit(made, body, ASYNC).json()["job_id"]
        wait_for_state(made, "draining")
        ask("DELETE", f"{made.url}/v1/jobs/{job}")
        children_of(made, lambda found: not found)
        assert workers(made) == []


def test_a_hive_is_emptied_and_opened_again() -> None:
    with ear() as queen, stub_hive("--drain 0.5", queen=queen.url) as made:
        ids = {submit(made, SPAWN).json()["worker_id"] for _ in range(3)}
        job = submit(made, DRAIN, ASYNC).json()
        queen.until(lambda b: b["state"] == "draining")
        refused = submit(made, SPAWN)
        assert (refused.status, refused.json()["error"]["code"]) == (503, "draining")
        assert ask("GET", f"{made.url}/ready").status == 503
        last = ask("GET", made.url + job["sse_url"]).events[-1]
        assert last["type"] == "done" and set(last["result"]["workers"]) == ids
        assert workers(made) == []
        assert submit(made, {**DRAIN, "undo": True}).json() == {"hive_id": "desk", "workers": []}
        assert submit(made, SPAWN).status == 200
        assert ask("GET", f"{made.url}/ready").status == 200


def test_an_empty_hive_is_drained_at_once() -> None:
    with stub_hive() as made:
        assert submit(made, DRAIN).json() == {"hive_id": "desk", "workers": []}


def test_a_spawn_that_is_loading_is_sent_elsewhere() -> None:
    with stub_hive("--load 60") as made:
        job = submit(made, SPAWN, ASYNC).json()
        children_of(made, lambda found: len(found) == 1)
        began = time.monotonic()
        submit(made, DRAIN)
        assert time.monotonic() - began < 3
        assert ask("GET", made.url + job["sse_url"]).events[-1]["code"] == "draining"


def test_a_hive_that_shall_end_lets_its_workers_finish() -> None:
    with ear() as queen, stub_hive("--drain 0.8", queen=queen.url) as made:
        pids = [submit(made, SPAWN).json()["pid"] for _ in range(2)]
        began = time.monotonic()
        made.child.terminate()
        queen.until(lambda b: b["state"] == "draining")
        assert ask("GET", f"{made.url}/health").status == 200
        assert made.child.wait(10) == 0
        assert 0.7 < time.monotonic() - began < 3, "both at the same time"
        assert not any(map(psutil.pid_exists, pids))
        queen.until(lambda b: b["state"] == "stopped")


@pytest.mark.parametrize("signals", [(signal.SIGTERM, signal.SIGINT)])
def test_two_signals_do_not_wait(signals: tuple[signal.Signals, ...]) -> None:
    with stub_hive("--drain 60") as made:
        pid = submit(made, SPAWN).json()["pid"]
        began = time.monotonic()
        for number in signals:
            made.child.send_signal(number)
        assert made.child.wait(10) == 0
        assert time.monotonic() - began < 3
        assert not psutil.pid_exists(pid)


def test_an_idle_hive_ends_at_once() -> None:
    with stub_hive() as made:
        began = time.monotonic()
        assert made.stop() == 0
        assert time.monotonic() - began < IDLE_S


@pytest.mark.parametrize(
    ("flags", "why"), [("--mute-after 1", "silent for"), ("--wedged", "its step 7 took 9.0 s")]
)
def test_a_worker_that_does_not_get_on_is_replaced(flags: str, why: str) -> None:
    with ear() as queen, stub_hive(flags, queen=queen.url, backoff_first_s=0.5) as made:
        spawned = submit(made, SPAWN).json()
        heard = queen.until(lambda b: [w["state"] for w in b["workers"]] == ["backoff"])
        (worker,) = heard["workers"]
        assert worker["worker_id"] == spawned["worker_id"] and why in worker["reason"]
        children_of(made, lambda found: [c.pid for c in found] not in ([], [spawned["pid"]]))
        again = queen.until(
            lambda b: [(w["state"], w["restarts"]) for w in b["workers"]] == [("ready", 1)]
        )
        assert again["workers"][0]["worker_id"] == spawned["worker_id"]


def test_a_hive_that_was_stopped_itself_kills_nobody() -> None:
    with stub_hive() as made:
        pid = submit(made, SPAWN).json()["pid"]
        psutil.Process(made.pid).suspend()
        time.sleep(5)
        psutil.Process(made.pid).resume()
        ends = time.monotonic() + 2
        while time.monotonic() < ends:
            assert [(w["state"], w["pid"]) for w in workers(made)] == [("ready", pid)]
            time.sleep(0.1)


def test_beats_of_others_are_refused_and_signal_nobody() -> None:
    bystander = psutil.Popen(["sleep", "60"])
    try:
        with stub_hive() as made:
            pid = submit(made, SPAWN).json()["pid"]
            (known,) = workers(made)
            url = f"{made.url}/v1/heartbeats"
            for body in (
                beat("stranger", "desk", bystander.pid),
                beat("stranger", "desk", 2**31 - 1),
                beat(known["worker_id"], "desk", bystander.pid),
                {**beat("stranger", "desk", 1), "pid": None},
            ):
                answer = ask("POST", url, body)
                assert answer.status == 404, answer.body
            assert ask("POST", url, beat("stranger", "another", pid)).status == 421
            assert ask("POST", url, {"from": "hive"}).status == 422
            assert ask("POST", url, beat(known["worker_id"], "desk", pid)).status == 200
            assert [w["pid"] for w in workers(made)] == [pid]
        assert bystander.is_running()
    finally:
        bystander.kill()
        bystander.wait()
