"""The workers of this hive: the only owner of worker processes.

Each worker is a task of its own (`child.Child`). This module gives them names, bounds their number,
finds, adopts, drains and deletes them, looks how they get on, and forgets the oldest failures. How
a process is called comes from outside (`Build`): tests start other programs through it.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Sequence

import anyio
from anyio.abc import TaskGroup

from rbee.config import HiveConfig
from rbee.contracts.answers import Spawned
from rbee.contracts.fleet import WorkerBeat, WorkerProcess
from rbee.errors import BadRequest, Draining, Late, Overloaded, WorkerNotFound
from rbee.hive.child import Child, Report
from rbee.hive.launch import Command, Wish
from rbee.hive.orphans import Orphan

log = logging.getLogger(__name__)
FAILURES_KEPT = 20
END_EXTRA_S = 5.0
"""Beyond the grace, until a process that got SIGKILL must be gone."""
LOOK_S = 0.25
ASLEEP_S = 1.0
"""Looking that much later than it should have, this hive was not awake to hear anybody."""
Build = Callable[[Wish], Command]


class Supervisor:
    """All children, by id."""

    def __init__(
        self, group: TaskGroup, config: HiveConfig, build: Build, changed: Callable[[], None]
    ) -> None:
        self._group = group
        self._config = config
        self._build = build
        self._changed = changed
        self._children: dict[str, Child] = {}
        self._closing = False
        self.draining = False
        self._limit_s = config.stop_grace_s + END_EXTRA_S

    def __repr__(self) -> str:
        states = ", ".join(f"{c.wish.worker_id} {c.state}" for c in self._children.values())
        return f"<Supervisor {states or 'no workers'}>"

    def view(self) -> list[WorkerProcess]:
        return [child.view() for child in self._children.values()]

    def loaded(self) -> dict[str, list[str]]:
        """The id of a model, an adapter or a projector to the workers that hold it, or are about
        to."""
        found: dict[str, list[str]] = {}
        for child in self._children.values():
            for held in child.wish.ids if child.alive else ():
                found.setdefault(held, []).append(child.wish.worker_id)
        return found

    def get(self, worker_id: str | None, pid: int | None) -> WorkerProcess:
        return self._find(worker_id, pid).view(with_tail=True)

    def new_id(self, model_id: str) -> str:
        """A free worker id: the model's name, made fit, and four hex digits."""
        while True:
            found = f"{slug(model_id)}-{secrets.token_hex(2)}"
            if found not in self._children:
                return found

    async def spawn(self, wish: Wish, report: Report) -> Spawned:
        """Start a worker and wait until it serves. Raises the reason when it does not.

        An asker who leaves takes the worker along.
        """
        self.check_room()
        child = self._begin(wish, report)
        try:
            await child.settled.wait()
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._remove(child)
            raise
        return child.outcome()

    def adopt(self, orphan: Orphan) -> Child | None:
        """Own a worker that an earlier life of this hive started; None when it has its like."""
        if self._closing or self.draining or orphan.wish.worker_id in self._children:
            return None
        return self._begin(orphan.wish, lambda done, total: None, orphan)

    def _begin(self, wish: Wish, report: Report, orphan: Orphan | None = None) -> Child:
        child = Child(
            wish,
            self._build(wish),
            self._config,
            changed=self._child_changed,
            report=report,
            orphan=orphan,
        )
        self._children[wish.worker_id] = child
        self._group.start_soon(child.live, name=wish.worker_id)
        return child

    def hear(self, beat: WorkerBeat) -> bool:
        """Take the heartbeat of a worker; False when it is none of these."""
        child = self._children.get(beat.id)
        return child is not None and child.hear(beat, time.monotonic())

    async def watch(self) -> None:
        """Look how the workers get on; for the hive's task group."""
        awake = looked = time.monotonic()
        while True:
            await anyio.sleep(LOOK_S)
            now = time.monotonic()
            awake = now if now - looked > LOOK_S + ASLEEP_S else awake
            looked = now
            for child in list(self._children.values()):
                child.look(now, awake)

    @property
    def running(self) -> int:
        """Answers that the workers are giving."""
        return sum(child.running for child in self._children.values() if child.alive)

    def check_room(self) -> None:
        """Raises `Overloaded` when no worker may be added, `Draining` while none shall be."""
        alive = sum(1 for child in self._children.values() if child.state != "failed")
        if self._closing:
            raise Draining("This hive is shutting down.", retry_after_s=2.0)
        if self.draining:
            raise Draining(
                "This hive is being drained, and starts no workers.",
                hint="undo the drain, or ask another hive",
                retry_after_s=5.0,
            )
        if alive >= self._config.max_workers:
            raise Overloaded(
                f"This hive runs {alive} workers, and {self._config.max_workers} are the most.",
                hint="delete one, or raise max_workers in hive.toml",
                retry_after_s=10.0,
            )

    async def delete(
        self, worker_id: str | None, pid: int | None, drain_s: float | None = None
    ) -> str:
        """Stop a worker and forget it; returns its id when its process is gone. With `drain_s` it
        may finish what it has; whoever does not wait for that leaves it at it."""
        child = self._find(worker_id, pid)
        if drain_s is not None:
            await self._drained([child], drain_s)
        await self._remove(child)
        return child.wish.worker_id

    async def drain(self, limit_s: float) -> list[str]:
        """Start no worker any more, and have all that there are end when they have finished, after
        `limit_s` in any case. Returns their ids when they are gone."""
        self.draining = True
        self._changed()
        children = list(self._children.values())
        await self._drained(children, limit_s)
        for child in children:
            await self._remove(child)
        return [child.wish.worker_id for child in children]

    def undo_drain(self) -> None:
        """Take work again. Workers that were to end do so."""
        self.draining = False
        self._changed()

    async def _drained(self, children: Sequence[Child], limit_s: float) -> None:
        for child in children:
            if child.state != "failed":
                child.drain(limit_s)
        with anyio.move_on_after(limit_s):
            for child in children:
                if child.state != "failed":
                    await child.ended.wait()

    async def close(self) -> None:
        """Stop all, at the same time."""
        self._closing = True
        children = [child for child in self._children.values() if child.state != "failed"]
        for child in children:
            child.stop()
        with anyio.move_on_after(self._limit_s):
            for child in children:
                await child.ended.wait()

    async def _remove(self, child: Child) -> None:
        child.stop()
        with anyio.move_on_after(self._limit_s):
            await child.ended.wait()
        if not child.ended.is_set():
            raise Late(f"Worker {child.wish.worker_id} did not end in {self._limit_s:g} s.")
        self._children.pop(child.wish.worker_id, None)
        self._changed()

    def _child_changed(self) -> None:
        failures = [k for k, child in self._children.items() if child.state == "failed"]
        for worker_id in failures[:-FAILURES_KEPT]:
            log.info("forgetting the failed worker %s", worker_id)
            del self._children[worker_id]
        stopped = [k for k, child in self._children.items() if child.state == "stopped"]
        for worker_id in stopped if not self._closing else ():
            del self._children[worker_id]
        self._changed()

    def _find(self, worker_id: str | None, pid: int | None) -> Child:
        if (worker_id is None) == (pid is None):
            raise BadRequest(
                "A worker is named by worker_id or by pid, exactly one of them.",
                path="$.worker_id",
            )
        for child in self._children.values():
            if worker_id == child.wish.worker_id or (pid is not None and pid == child.pid):
                return child
        name = worker_id if worker_id is not None else f"with pid {pid}"
        known = ", ".join(self._children) or "none"
        raise WorkerNotFound(
            f"No worker {name} here. Known: {known}.",
            path="$.worker_id" if worker_id is not None else "$.pid",
        )


def slug(model_id: str) -> str:
    """The part of a model's name that people recognise, as the start of a worker id."""
    last = model_id.rsplit("/", 1)[-1]
    name = re.sub(r"\.gguf\Z", "", last, flags=re.IGNORECASE)
    fit = re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.")
    return fit[:48].rstrip("-.") or "worker"
