"""A thousand streams that were begun, read a little and left: nothing of them is kept.

File descriptors and threads are counted from outside (`/proc`, on Linux alone), tasks by each
process itself (`rbee_tasks`), before and after.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.http import ask
from tests.system.stack import Stack, environment, fact, free_ports, role

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counted in /proc")
ENDLESS: dict[str, Any] = {"model": "bee", "ignore_eos": True, "max_tokens": 1_900}
WARM = 30
"""Cycles before the baseline: pools of threads and connections are as large as they get."""
POOLED = 2
"""Idle connections that one moment has and another has not; what leaks does so in every cycle."""


class Kept(NamedTuple):
    """What a process holds."""

    descriptors: int
    threads: int
    tasks: int


Process = tuple[int, str]
"""Its pid, and where it answers."""


def kept(pid: int, url: str) -> Kept:
    folder = Path(f"/proc/{pid}")
    descriptors, threads = len(os.listdir(folder / "fd")), len(os.listdir(folder / "task"))
    metrics = ask("GET", f"{url}/metrics").body.decode()  # last: it is a connection of its own
    [tasks] = re.findall(r"^rbee_tasks (\S+)", metrics, re.MULTILINE)
    return Kept(descriptors, threads, int(float(tasks)))


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[tuple[Stack, dict[str, Process]]]:
    """Queen, hive and worker, each a process."""
    queen, hive = free_ports(2)
    env = environment(tmp_path, queen, hive)
    made = Stack(env["RBEE_QUEEN_URL"], env["RBEE_HIVE_URL"], tmp_path, env)
    with (
        role("queen", env, "--port", str(queen)) as first,
        role("hive", env, "--port", str(hive), "--queen", made.queen) as second,
    ):
        worker = made.client.spawn("bee")
        fact(lambda: made.client.status().workers, "the worker is known")
        yield (
            made,
            {
                "queen": (first.pid, made.queen),
                "hive": (second.pid, made.hive),
                "worker": (worker.pid, worker.url),
            },
        )


def cycle(stack: Stack, number: int) -> None:
    """Begin an answer, read some of it, and leave in one way or another."""
    body = {**ENDLESS, "messages": [{"role": "user", "content": f"Count from 1 to {number}."}]}
    with stack.client.stream(**body) as events:
        for heard, _ in enumerate(events):
            if heard == 2 + number % 5:
                break
        if number % 2:
            stack.client.cancel(events.job_id)


def quiet(stack: Stack) -> bool:
    status = stack.client.status()
    busy = status.queue.waiting + status.queue.leased + sum(w.worker.busy for w in status.workers)
    return not busy and not any(job.state == "running" for job in stack.client.jobs())


@pytest.mark.parametrize(
    "cycles", [200, pytest.param(1_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_streams_that_were_left_leave_nothing(
    fleet: tuple[Stack, dict[str, Process]], cycles: int
) -> None:
    stack, processes = fleet
    for number in range(WARM):
        cycle(stack, number)
    fact(lambda: quiet(stack), "nothing runs")
    before = {name: kept(*process) for name, process in processes.items()}
    for number in range(cycles):
        cycle(stack, number)
    fact(lambda: quiet(stack), "nothing runs")

    def back() -> bool:
        return all(
            now <= then + POOLED
            for name, process in processes.items()
            for now, then in zip(kept(*process), before[name], strict=True)
        )

    try:
        fact(back, "the baseline")
    finally:
        after = {name: kept(*process) for name, process in processes.items()}
        assert back(), (before, after)
