"""`rbee hive drain` while an answer runs: it finishes, or goes on with another hive."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from rbee.client.sync import Client
from rbee.contracts.answers import Spawned
from rbee.contracts.events import Moved
from tests.http import ask
from tests.system.counting import COUNTING, PROMPT, Counted
from tests.system.stack import Stack, alive, environment, fact, free_ports, role

NAMES = ("one", "two")


@dataclass
class Pair(Stack):
    """A queen and two hives, each with a worker of its own."""

    pool: ThreadPoolExecutor
    workers: dict[str, Spawned] = field(default_factory=dict)
    hives: dict[str, Client] = field(default_factory=dict)

    def answering(self) -> str:
        """The hive whose worker is busy."""
        busy = {
            name: ask("GET", f"{worker.url}/v1/status").json()["busy"]
            for name, worker in self.workers.items()
        }
        assert sorted(busy.values()) == [0, 1], busy
        return max(busy, key=lambda name: busy[name])

    def state(self, hive: str) -> str:
        """Of a hive, as the queen has heard it."""
        return next(h.hive.state for h in self.client.status().hives if h.hive.id == hive)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    queen, *ports = free_ports(3)
    env = environment(tmp_path, queen, ports[0], RBEE_DRAIN_S="100")
    with ExitStack() as opened:
        opened.enter_context(role("queen", env, "--port", str(queen)))
        pool = opened.enter_context(ThreadPoolExecutor(1))
        made = Pair(env["RBEE_QUEEN_URL"], env["RBEE_HIVE_URL"], tmp_path, env, pool)
        for name, port in zip(NAMES, ports, strict=True):
            own = {**env, "RBEE_HOME": str(tmp_path / name)}
            flags = ("--port", str(port), "--id", name, "--queen", made.queen)
            hive = Client(made.queen, opened.enter_context(role("hive", own, *flags)).url)
            made.hives[name], made.workers[name] = hive, hive.spawn("bee")
        fact(lambda: len(made.client.status().workers) == 2, "the queen knows both workers")
        yield made


class Draining:
    """`rbee hive drain`, of the hive that answers at the moment."""

    def __init__(self, pair: Pair, *flags: str) -> None:
        self.hive = self.other = ""
        self._pair = pair
        self._flags = flags
        self._told: Future[CompletedProcess[str]] | None = None

    def begin(self) -> None:
        """Return when the queen knows of it."""
        self.hive = self._pair.answering()
        [self.other] = set(NAMES) - {self.hive}
        command = ("hive", "drain", "--hive", self.hive, *self._flags)
        self._told = self._pair.pool.submit(self._pair.run, *command)
        fact(lambda: self._pair.state(self.hive) == "draining", "the hive drains")

    def check(self) -> None:
        """It ended well, and left its hive without a worker and the other one as it was."""
        assert self._told is not None
        told, gone = self._told.result(60), self._pair.workers[self.hive]
        assert (told.returncode, told.stderr) == (0, "")
        assert told.stdout == f"{self.hive} is drained; stopped: {gone.worker_id}\n"
        assert self._pair.hives[self.hive].workers() == [] and not alive(gone.pid)
        [kept] = self._pair.hives[self.other].workers()
        assert (kept.worker_id, kept.state) == (self._pair.workers[self.other].worker_id, "ready")


def test_an_answer_that_runs_is_finished_first(pair: Pair) -> None:
    draining = Draining(pair)

    def drain() -> None:
        draining.begin()
        assert pair.answering() == draining.hive, "it was over before the drain began"

    heard = Counted(drain)
    with pair.client.stream(PROMPT, **COUNTING) as events:
        for event in events:
            heard.feed(event)
    last = heard.done()
    assert (last.migrations, last.worker_id) == (0, pair.workers[draining.hive].worker_id)
    draining.check()


def test_one_that_gets_no_time_goes_on_with_the_other_hive(pair: Pair) -> None:
    draining = Draining(pair, "--drain-s", "0")
    heard = Counted(draining.begin)
    with pair.client.stream(PROMPT, **COUNTING) as events:
        for event in events:
            heard.feed(event)
    last = heard.done()
    assert (last.migrations, last.worker_id) == (1, pair.workers[draining.other].worker_id)
    assert sum(isinstance(event, Moved) for event in heard.seen) == 1
    draining.check()
