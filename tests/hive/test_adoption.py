"""A hive is killed and started again: its workers are its own again, or gone. Real workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.hive.ear import ear
from tests.hive.served import ASYNC, SPAWN, children_of, submit, wait_for_state, workers
from tests.hive.stub_worker import beat
from tests.http import ask, listening
from tests.processes import Started, role
from tests.worker.bees import endless

FACT_S = 20.0


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(fact: Any, limit_s: float = FACT_S) -> None:
    ends = time.monotonic() + limit_s
    while not fact():
        assert time.monotonic() < ends
        time.sleep(0.02)


class Machine:
    """A hive that can be killed and started again, at the same port and under the same name."""

    def __init__(self, models: Path) -> None:
        self.settings: dict[str, object] = {
            "id": f"hive-{os.getpid()}",
            "queen": "",
            "models_dir": models,
            "backoff_first_s": 0.05,
            "hive_grace_s": 6.0,
            "drain_s": 2.0,
            "threads": 1,
        }

    @contextmanager
    def hive(self, **more: object) -> Iterator[Started]:
        with role("hive", {**self.settings, **more}) as made:
            self.settings["port"] = made.port
            yield made

    def all_workers(self) -> list[psutil.Process]:
        """Every process on this machine that says it is a worker of this hive."""
        found = []
        for process in psutil.process_iter():
            try:
                if str(self.settings["id"]) in process.cmdline()[8:] and lives(process.pid):
                    found.append(process)
            except psutil.Error:
                pass
        return [p for p in found if "worker" in p.cmdline()]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    until(lambda: not made.all_workers())


def spawned(hive: Started) -> dict[str, Any]:
    answer = submit(hive, SPAWN)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json()
    return found


def test_a_hive_that_is_started_again_owns_its_workers_again(machine: Machine) -> None:
    """Twice in a row: the second time none of them was ever the hive's child."""
    with machine.hive() as first:
        before = sorted(((w := spawned(first))["worker_id"], w["pid"], w["port"]) for _ in "ab")
        first.kill()
    for borne_s in (0.0, 4.5):  # the second: longer than any silence is borne
        with machine.hive() as hive:
            found = workers(hive)
            assert sorted((w["worker_id"], w["pid"], w["port"]) for w in found) == before
            assert {w["state"] for w in found} == {"ready"}
            assert all(w["url"] and w["rss_bytes"] > 0 and w["uptime_s"] > 0 for w in found)
            assert ask("GET", f"{found[0]['url']}/health").json()["id"] == found[0]["worker_id"]
            loaded = submit(hive, {"operation": "model_get", "model": "bee"}).json()["loaded_by"]
            assert sorted(loaded) == [name for name, _, _ in before]
            time.sleep(borne_s)
            assert {w["state"] for w in workers(hive)} == {"ready"}
            hive.kill()


def test_the_queen_never_hears_that_they_are_gone(machine: Machine) -> None:
    with ear() as queen:
        with machine.hive(queen=queen.url) as first:
            worker = spawned(first)["worker_id"]
            first.kill()
        lives_before = {b["incarnation"] for b in queen.beats if b["from"] == "hive"}
        with machine.hive(queen=queen.url):
            heard = queen.until(
                lambda b: b["from"] == "hive" and b["incarnation"] not in lives_before
            )
            assert [(w["worker_id"], w["state"]) for w in heard["workers"]] == [(worker, "ready")]


def test_an_adopted_worker_is_deleted_drained_and_listed_like_any_other(machine: Machine) -> None:
    with machine.hive() as first:
        one, two = spawned(first), spawned(first)
        first.kill()
    with machine.hive() as hive:
        deleted = submit(hive, {"operation": "worker_process_delete", "pid": one["pid"]})
        assert deleted.json() == {"deleted": one["worker_id"]}
        assert not lives(one["pid"]) and lives(two["pid"])
        drained = submit(hive, {"operation": "hive_drain"})
        assert drained.json()["workers"] == [two["worker_id"]]
        assert not lives(two["pid"])


def test_an_adopted_worker_that_drains_goes_on_draining_and_is_not_started_again(
    machine: Machine,
) -> None:
    machine.settings["drain_s"] = 20.0
    with machine.hive() as first:
        worker = spawned(first)
        url = worker["url"]
        with listening("POST", f"{url}/v1/infer", endless(url)) as (_, events):
            next(events)
            drain = {"worker_id": worker["worker_id"], "drain": True}
            submit(first, {"operation": "worker_process_delete", **drain}, ASYNC)
            wait_for_state(first, "draining")
            first.kill()
            with machine.hive() as hive:
                wait_for_state(hive, "draining")
                assert [event for _, event in events][-1]["type"] == "done"
                until(lambda: not workers(hive) and not lives(worker["pid"]))
                assert not machine.all_workers()


def test_an_adopted_worker_that_dies_comes_back_under_its_name(machine: Machine) -> None:
    with machine.hive() as first:
        worker = spawned(first)
        first.kill()
    with machine.hive() as hive:
        os.kill(worker["pid"], signal.SIGKILL)
        children_of(hive, lambda found: len(found) == 1)
        wait_for_state(hive, "ready")
        (again,) = workers(hive)
        assert (again["worker_id"], again["restarts"]) == (worker["worker_id"], 1)
        assert again["slots"] > 0 and again["sha256"] and again["pid"] != worker["pid"]


def test_a_hive_that_ends_takes_adopted_workers_along(machine: Machine) -> None:
    with machine.hive() as first:
        worker = spawned(first)
        first.kill()
    with machine.hive() as hive:
        assert hive.stop() == 0
        assert not lives(worker["pid"])


def test_nobody_outlives_the_grace(machine: Machine) -> None:
    machine.settings["hive_grace_s"] = 1.0
    with machine.hive() as first:
        pids = [spawned(first)["pid"] for _ in range(2)]
        first.kill()
        assert all(map(lives, pids))
        until(lambda: not any(map(lives, pids)), 5)


def test_a_hive_that_dies_in_the_middle_of_a_spawn_leaves_nothing(machine: Machine) -> None:
    """At any moment of it: before the worker knows its parent, while it loads, when it is ready."""
    for pause_s in (0.0, 0.1, 0.3, 0.5, 0.7):
        with machine.hive(hive_grace_s=0.5) as hive:
            submit(hive, SPAWN, ASYNC)
            children_of(hive, lambda found: len(found) == 1)
            time.sleep(pause_s)
            hive.kill()
            until(lambda: not machine.all_workers(), 5)


def test_a_stopped_orphan_is_replaced(machine: Machine) -> None:
    with machine.hive() as first:
        worker = spawned(first)
        psutil.Process(worker["pid"]).suspend()
        first.kill()
    with machine.hive() as hive:
        until(lambda: not lives(worker["pid"]), 8)
        wait_for_state(hive, "ready")
        assert workers(hive)[0]["worker_id"] == worker["worker_id"]


def test_a_stopped_worker_is_out_of_rotation_within_5_s_and_replaced(machine: Machine) -> None:
    with ear() as queen, machine.hive(queen=queen.url) as hive:
        worker = spawned(hive)
        began = time.monotonic()
        psutil.Process(worker["pid"]).suspend()
        heard = queen.until(
            lambda b: b["from"] == "hive" and [w["state"] for w in b["workers"]] == ["backoff"]
        )
        assert time.monotonic() - began < 5
        assert "silent" in heard["workers"][0]["reason"]
        wait_for_state(hive, "ready")
        assert workers(hive)[0]["pid"] != worker["pid"] and not lives(worker["pid"])


def test_another_hives_workers_are_left_alone(machine: Machine, tmp_path: Path) -> None:
    """The same name at another port, another name, another queen."""
    with machine.hive() as first:
        worker = spawned(first)
        own = dict(machine.settings)
        first.kill()
    for other in ({"port": 0}, {"id": f"other-{os.getpid()}"}, {"queen": "http://127.0.0.1:9"}):
        machine.settings = dict(own)
        with machine.hive(**other) as hive:
            assert workers(hive) == []
            assert lives(worker["pid"])
            hive.kill()
    machine.settings = own
    with machine.hive() as hive:
        assert [w["pid"] for w in workers(hive)] == [worker["pid"]]


PRETENDER = "import time; time.sleep(60)"


def test_a_beat_names_a_process_and_is_not_believed(machine: Machine) -> None:
    """A process whose arguments look like a worker's, but that never listened."""
    with machine.hive() as hive:
        argv = [sys.executable, "-c", PRETENDER, "--id", "w-1", "--hive-id", "x"]
        bystander = subprocess.Popen(argv)
        try:
            body = beat("w-1", str(machine.settings["id"]), bystander.pid)
            assert ask("POST", f"{hive.url}/v1/heartbeats", body).status == 404
            hive.stop()
            assert bystander.poll() is None
        finally:
            bystander.kill()
            bystander.wait()
