"""A fleet as scenarios see it: where its workers sit, and the few things that are done to them.

Told by the hives and the workers themselves, over HTTP. Nothing here starts a server; `members`
does, for a throw-away fleet.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import anyio
import psutil

from rbee.contracts.answers import Deleted, Drained, Spawned, WorkerProcesses
from rbee.contracts.fleet import FleetStatus, WorkerBeat, WorkerProcess
from rbee.contracts.operations import HiveDrain, WorkerProcessDelete, WorkerProcessList, WorkerSpawn
from rbee.errors import Late, RbeeError
from rbee.keeper.chaos.asks import MODEL
from rbee.wire.http import Http

T = TypeVar("T")
LOOK_S = 0.05
WATCH_S = 0.002
"""Between two looks at what is over within a few hundredths of a second."""
WHOLE_S = 60.0
ANSWER_S = 2.0
DRAIN_LIMIT_S = 60.0
COMING = ("starting", "ready", "backoff")
"""States of a worker that serves, or will."""


@dataclass(frozen=True)
class Seat:
    """A worker that serves, and its process."""

    worker_id: str
    pid: int
    url: str
    hive_id: str


class Fleet:
    """A queen, or several of the same hives, and the hives at known addresses."""

    def __init__(
        self, http: Http, queens: tuple[str, ...], hives: dict[str, str], model: str = MODEL
    ) -> None:
        self.http = http
        self.queens = queens
        self.hives = hives
        """Id to address."""
        self.model = model
        self.each = 1 if len(hives) > 1 else 2
        """Workers of a hive: nobody is lost while another one is there."""
        self.seats: list[Seat] = []
        """As of the last time that it was whole."""

    def __repr__(self) -> str:
        return f"<Fleet {self.queen} hives {', '.join(self.hives)} seats {len(self.seats)}>"

    @property
    def queen(self) -> str:
        """The first of them."""
        return self.queens[0]

    async def status(self, queen: str = "") -> FleetStatus:
        """The fleet as a queen knows it, the first one unless told."""
        found: FleetStatus = await self.http.call(
            "GET", f"{queen or self.queen}/v1/status", FleetStatus, timeout_s=ANSWER_S
        )
        return found

    async def listed(self, hive_id: str) -> list[WorkerProcess]:
        """The workers of one hive that run our model, as the hive tells it."""
        found: WorkerProcesses = await self.http.call(
            "POST",
            f"{self.hives[hive_id]}/v1/jobs",
            WorkerProcesses,
            WorkerProcessList(),
            timeout_s=ANSWER_S,
        )
        return [worker for worker in found.workers if worker.model == self.model]

    async def workers(self, hive_id: str) -> list[Seat]:
        """Those that serve."""
        return [
            Seat(worker.worker_id, worker.pid, worker.url, hive_id)
            for worker in await self.listed(hive_id)
            if worker.pid is not None and worker.state == "ready"
        ]

    async def spawn(self, hive_id: str) -> Spawned:
        """One more worker on a hive; returns when it serves."""
        found: Spawned = await self.http.call(
            "POST",
            f"{self.hives[hive_id]}/v1/jobs",
            Spawned,
            WorkerSpawn(model=self.model),
            timeout_s=WHOLE_S,
        )
        return found

    async def drain(self, seat: Seat, drain_s: float | None) -> None:
        """Delete a worker, which first finishes what it has."""
        await self.http.call(
            "POST",
            f"{self.hives[seat.hive_id]}/v1/jobs",
            Deleted,
            WorkerProcessDelete(worker_id=seat.worker_id, drain=True, drain_s=drain_s),
            timeout_s=DRAIN_LIMIT_S,
        )

    async def drain_hive(
        self, hive_id: str, drain_s: float | None = None, *, undo: bool = False
    ) -> None:
        """Empty a hive as `rbee hive drain` does, or have it take work again."""
        await self.http.call(
            "POST",
            f"{self.hives[hive_id]}/v1/jobs",
            Drained,
            HiveDrain(drain_s=drain_s, undo=undo),
            timeout_s=DRAIN_LIMIT_S,
        )

    async def whole(self) -> None:
        """Wait until every hive has its workers, and every queen knows these and no others. A hive
        that has too few is told to start one."""
        await until(self._settle, "the fleet is whole again", WHOLE_S)

    async def _settle(self) -> bool:
        found: list[Seat] = []
        for hive_id in self.hives:
            coming = [w for w in await self.listed(hive_id) if w.state in COMING]
            if len(coming) < self.each:
                await self.spawn(hive_id)
                return False
            found += await self.workers(hive_id)
        self.seats = found
        there = {(seat.worker_id, seat.pid) for seat in found}
        known = [await self._known(queen) == there for queen in self.queens]
        return len(found) >= self.each * len(self.hives) and all(known)

    async def _known(self, queen: str) -> set[tuple[str, int | None]]:
        """The workers that serve, as a queen knows them."""
        return {
            (status.worker.id, status.worker.pid)
            for status in (await self.status(queen)).workers
            if status.alive and self._is_ours(status.worker)
        }

    def _is_ours(self, worker: WorkerBeat) -> bool:
        ours = worker.model == self.model and worker.hive_id in self.hives
        return ours and worker.state == "ready"

    async def look_again(self) -> None:
        """Learn which workers serve now, whole or not; a hive that does not answer has none."""
        self.seats = []
        for hive_id in self.hives:
            with suppress(RbeeError):
                self.seats += await self.workers(hive_id)

    async def seat_of(self, job_id: str) -> Seat | None:
        """The worker that computes a job, by its own word; None when no one does."""
        for seat in self.seats:
            beat = await self.beat(seat)
            if beat is not None and job_id in beat.jobs:
                return seat
        return None

    async def beat(self, seat: Seat) -> WorkerBeat | None:
        """A worker's state; None when it does not tell."""
        try:
            found: WorkerBeat = await self.http.call(
                "GET", f"{seat.url}/v1/status", WorkerBeat, timeout_s=ANSWER_S
            )
        except RbeeError:
            return None
        return found

    async def steps(self, seat: Seat | None) -> int | None:
        """How many steps a worker's engine has made; None when it does not tell."""
        beat = await self.beat(seat) if seat is not None else None
        return beat.step if beat is not None else None

    def hurt(self, seat: Seat, how: signal.Signals) -> None:
        """Send a signal to a worker, if it still is the process that the hive told of."""
        if is_worker(seat):
            with suppress(ProcessLookupError):
                os.kill(seat.pid, how)

    def pids(self) -> dict[str, int]:
        """The processes whose memory is looked at, by name."""
        return {seat.worker_id: seat.pid for seat in self.seats}


def is_worker(seat: Seat) -> bool:
    """Whether that process is a worker of rbee by that id: a pid alone proves nothing."""
    try:
        words = psutil.Process(seat.pid).cmdline()
    except psutil.Error:
        return False
    return "worker" in words and seat.worker_id in words


def runs(pid: int) -> bool:
    """Whether a process is there (a zombie is not)."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until(
    look: Callable[[], Awaitable[T]], what: str, limit_s: float, every_s: float = LOOK_S
) -> T:
    """Wait until `look` gives something true; what it raises counts as not yet. Raises `Late`."""
    last: RbeeError | None = None
    with anyio.move_on_after(limit_s):
        while True:
            try:
                found = await look()
            except RbeeError as exc:
                last = exc
            else:
                if found:
                    return found
            await anyio.sleep(every_s)
    why = f" {last.message}" if last is not None else ""
    raise Late(f"Not within {limit_s:.0f} s: {what}.{why}")
