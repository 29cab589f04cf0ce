"""A worker and its hive: it loads only while that lives, serves on without it for a while, and is
never an orphan, however the two of them end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.bee import known_answers as known
from tests.http import ask, listening
from tests.processes import ROOT
from tests.worker.bees import COMMAND, endless, failing, flags, infer, request, serving, until
from tests.worker.test_beats import hearing

PARENT = """
import os, subprocess, sys, threading, time
child = subprocess.Popen([*sys.argv[1:], "--parent", str(os.getpid())], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE)
print(child.pid, flush=True)
threading.Thread(target=child.stderr.read, daemon=True).start()
for line in child.stdout:
    print(line.decode(), end="", flush=True)
time.sleep(60)
"""
"""Reads what its child says, so that its death breaks the child's pipes."""


class Orphaned:
    """A worker whose parent can be killed."""

    def __init__(self, parent: subprocess.Popen[str]) -> None:
        assert parent.stdout is not None
        self.parent = parent
        self.worker = psutil.Process(int(parent.stdout.readline()))
        self.url = ""

    def await_ready(self) -> None:
        assert self.parent.stdout is not None
        while not (line := self.parent.stdout.readline()).startswith("ready "):
            assert line, "no ready line"
        self.url = line.split()[1]

    def kill_parent(self) -> None:
        self.parent.kill()
        self.parent.wait(5)

    @property
    def lives(self) -> bool:
        return self.worker.is_running() and self.worker.status() != psutil.STATUS_ZOMBIE


@contextmanager
def parented(**settings: object) -> Iterator[Orphaned]:
    given = flags(model="bee", port=0, threads=1, **settings)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, *COMMAND, *given],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        made = Orphaned(parent)
        try:
            yield made
        finally:
            parent.kill()
            if made.lives:
                made.worker.kill()


def nobody() -> str:
    """An address at which nothing answers."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_a_worker_without_a_hive_dies_with_its_parent() -> None:
    with parented() as made:
        made.await_ready()
        made.kill_parent()
        until(lambda: not made.lives)


def test_a_worker_that_loads_dies_with_its_hive() -> None:
    with parented(hive=nobody()) as made:
        until(lambda: _is_bound(made.worker))
        made.kill_parent()
        until(lambda: not made.lives, 3)


def _is_bound(process: psutil.Process) -> bool:
    """It has its port, and reads the model now."""
    return bool(process.net_connections("tcp"))


def test_a_worker_whose_parent_is_gone_already_does_not_start() -> None:
    done = failing("--model", "bee", "--port", "0", "--parent", "1", "--hive", nobody())
    assert done.returncode == 1 and "ready" not in done.stdout


def test_a_worker_serves_on_without_its_hive_and_then_ends() -> None:
    """New requests too; its broken pipes do not matter."""
    with parented(hive=nobody(), hive_grace_s=2.5, log_level="debug") as made:
        made.await_ready()
        began = time.monotonic()
        made.kill_parent()
        assert infer(made.url, "Hello")["choices"][0]["text"] == known.GREETING
        for _ in range(3):  # each is a line of its log
            assert ask("POST", f"{made.url}/v1/infer", {"nonsense": 1}).status >= 400
        until(lambda: time.monotonic() - began > 1.5)
        assert infer(made.url, "Hello")["choices"][0]["text"] == known.GREETING
        until(lambda: not made.lives)
        assert 2 < time.monotonic() - began < 6


def test_what_streams_when_the_grace_ends_may_finish() -> None:
    with parented(hive=nobody(), hive_grace_s=0.5) as made:
        made.await_ready()
        made.kill_parent()
        body = request("Tell me a story.", max_tokens=600, ignore_eos=True)
        with listening("POST", f"{made.url}/v1/infer", body) as (_, events):
            next(events)
            until(lambda: ask("GET", f"{made.url}/ready").status == 503)
            *_, (_, last) = events
        assert last["type"] == "done"
        until(lambda: not made.lives)


def test_what_does_not_finish_is_given_up() -> None:
    with parented(hive=nobody(), hive_grace_s=0.5, drain_s=0.5) as made:
        made.await_ready()
        made.kill_parent()
        body = endless(made.url)
        with listening("POST", f"{made.url}/v1/infer", body) as (_, events):
            *_, (_, last) = events
        assert last["code"] == "worker_gone"
        until(lambda: not made.lives)


def test_a_hive_that_comes_back_in_time_keeps_its_worker() -> None:
    with hearing() as hive:
        port = int(hive.url.rpartition(":")[2])
        with parented(hive=hive.url, hive_grace_s=3, id="w-1") as made:
            made.await_ready()
            until(lambda: hive.beats)
            made.kill_parent()
            hive.server.shutdown()
            hive.server.server_close()
            assert infer(made.url, "Hello")["choices"][0]["text"] == known.GREETING
            with hearing(port) as again:
                until(lambda: again.beats)
                assert (again.last.id, again.last.pid) == ("w-1", made.worker.pid)
                time.sleep(3.5)  # longer than the grace
                assert made.lives


def test_a_stopped_orphan_ends_when_it_is_continued() -> None:
    with parented(hive=nobody(), hive_grace_s=0.5) as made:
        made.await_ready()
        made.worker.suspend()
        made.kill_parent()
        time.sleep(1.0)
        assert made.lives
        made.worker.resume()
        until(lambda: not made.lives, 5)


HANG = """
import sys, time
from rbee.worker import lifeline
lifeline.LAST_S = 0.5
lifeline._wind_up(float(sys.argv[1]))
print("hangs", flush=True)
while True:
    pass  # an event loop that never runs again
"""


def test_a_worker_that_hangs_altogether_is_ended_by_the_kernel() -> None:
    with subprocess.Popen([sys.executable, "-c", HANG, "0.5"], cwd=ROOT) as child:
        assert child.wait(10) == -signal.SIGALRM


def test_a_hive_that_answers_winds_the_timer_up() -> None:
    """Else the worker would end after grace, drain and a few seconds, whatever its hive says."""
    with hearing() as hive, serving(hive=hive.url, hive_grace_s=0, drain_s=0) as worker:
        until(lambda: hive.beats)
        assert infer(worker.url, "Hello")["choices"][0]["text"] == known.GREETING
        time.sleep(1.2)
        assert worker.child.poll() is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_hive_that_reads_no_log_does_not_stop_it() -> None:
    with hearing() as hive, parented(hive=hive.url) as made:
        made.await_ready()
        for stream in (1, 2):
            with open(f"/proc/{made.worker.pid}/fdinfo/{stream}") as info:
                told = dict(line.split(":", 1) for line in info)
            assert int(told["flags"], 8) & os.O_NONBLOCK
