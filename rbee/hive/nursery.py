"""Takes workers in that an earlier life of this hive started, and hears those that it has.

At the start the process table tells who is there, before the first heartbeat goes to a queen: she
takes a hive's list for the truth. Whoever was missed then is found by its own first heartbeat. One
that is not taken in gets no acknowledgement: it drains and ends when its grace is over.
"""

from __future__ import annotations

import logging

import anyio
from anyio.to_thread import run_sync

from rbee.contracts.fleet import WorkerBeat
from rbee.errors import WorkerNotFound
from rbee.hive.orphans import Orphans
from rbee.hive.supervisor import Supervisor

log = logging.getLogger(__name__)
OWNED_S = 2.0
"""Owning one is a moment's work; one that dies just then is started anew, and not waited for."""


class Nursery:
    """Between the heartbeats of workers and who owns them."""

    def __init__(self, supervisor: Supervisor, orphans: Orphans) -> None:
        self._supervisor = supervisor
        self._orphans = orphans

    def __repr__(self) -> str:
        return f"<Nursery {self._orphans!r}>"

    async def gather(self) -> None:
        """Adopt everybody who is there now; returns when they are owned."""
        adopted = [self._supervisor.adopt(found) for found in await run_sync(self._orphans.all)]
        with anyio.move_on_after(OWNED_S):
            for child in adopted:
                if child is not None:
                    await child.settled.wait()

    async def hear(self, beat: WorkerBeat) -> None:
        """Take a worker's heartbeat. Raises `WorkerNotFound` when it is not, and cannot become, one
        of this hive's."""
        if self._supervisor.hear(beat):
            return
        found = await run_sync(self._orphans.one, beat.pid) if beat.pid is not None else None
        if found is not None and found.wish.worker_id == beat.id:
            child = self._supervisor.adopt(found)
            if child is not None:
                with anyio.move_on_after(OWNED_S):
                    await child.settled.wait()
        if not self._supervisor.hear(beat):
            raise WorkerNotFound(
                f"Hive {beat.hive_id} has no worker {beat.id} with process {beat.pid}.",
                path="$.pid",
            )
