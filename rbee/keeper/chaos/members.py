"""A throw-away fleet: queens and hives, each a process with a home of its own, on free ports.

All of it lies in one temporary folder, the homes of processes that its hives start as well: so the
guardian finds what is left over, and ends it, whatever happened.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread

from rbee.contracts.answers import JobList
from rbee.errors import Late
from rbee.keeper.chaos.fleet import Fleet
from rbee.keeper.chaos.guardian import end_all, guarded
from rbee.keeper.chaos.plan import Shape
from rbee.keeper.throwaway import PYTHON, Running, free_ports
from rbee.wire.http import Http

DRAIN_S = 3.0
STOP_S = DRAIN_S + 5.0
"""A loaded process has ended 5 s after its drain."""
HIVE_GRACE_S = 4.0
"""How long workers wait here for their hive: long enough to start one, short enough to wait for."""
QUEEN = "queen"
HIVE_SETTINGS: Mapping[str, str] = {
    "threads": "1",
    "backoff_first_s": "0.1",
    "backoff_max_s": "0.5",
    "crashes_max": "1000000",
    "hive_grace_s": str(HIVE_GRACE_S),
    "drain_s": str(DRAIN_S),
}
"""Workers are killed here again and again, and shall be back at once each time."""


class Member:
    """One process: its command, its home, and whoever runs it just now."""

    def __init__(self, name: str, flags: list[str], home: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.child: subprocess.Popen[bytes] | None = None
        self._command = [*PYTHON, "serve", *flags]
        self._home = home
        self._env = {**env, "RBEE_HOME": str(home)}
        self._running: Running | None = None

    def __repr__(self) -> str:
        return f"<Member {self.name} pid {self.child.pid if self.child else None}>"

    def start(self) -> None:
        """Returns when it serves."""
        self._home.mkdir(exist_ok=True)
        log = self._home / "log"
        with log.open("ab") as errors:
            self.child = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self._env,
                start_new_session=True,  # Ctrl-C is for us: we end it in order
            )
        self._running = Running(self.child, log)
        self._running.ready()

    def kill(self) -> None:
        """As a crash would."""
        if self.child is not None:
            self.child.kill()
            self._reap(STOP_S)

    def stop(self) -> None:
        """SIGTERM, and wait for the end; raises `Late` when it does not come."""
        if self.child is not None:
            self.child.terminate()
            self._reap(STOP_S)

    def _reap(self, limit_s: float) -> None:
        assert self.child is not None and self._running is not None
        try:
            self.child.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise Late(f"The {self.name} has not ended {limit_s:.0f} s after SIGTERM.") from None
        self._running.close()
        self.child = self._running = None


class Throwaway(Fleet):
    """A fleet of our own, whose servers can be killed and started again."""

    def __init__(self, http: Http, shape: Shape, folder: Path) -> None:
        ports = free_ports(shape.queens + 2 * len(shape.hives))
        names = [QUEEN, *(f"{QUEEN}-{number}" for number in range(2, shape.queens + 1))]
        queens = {name: ports.pop() for name in names}
        hives = dict(zip(shape.hives, ports[::2], strict=True))
        super().__init__(http, tuple(map(_local, queens.values())), _all_local(hives))
        self._queens = _all_local(queens)
        self.folder = folder
        kept = {k: v for k, v in os.environ.items() if not k.startswith("RBEE_")}
        queen_settings = {"queue_limit": str(shape.queue_limit), "drain_s": str(DRAIN_S)}
        env = {**kept, **_settings(queen_settings)}
        self.members: dict[str, Member] = {}
        for name, port in queens.items():
            flags = ["--role", "queen", "--port", str(port)]
            self.members[name] = Member(name, flags, folder / name, env)
        told = ",".join(self.queens)
        for (name, port), workers in zip(hives.items(), ports[1::2], strict=True):
            env = {**kept, **_settings({**HIVE_SETTINGS, "worker_port": str(workers)})}
            flags = ["--role", "hive", "--id", name, "--port", str(port), "--queen", told]
            flags += ["--slots", str(shape.slots)]
            self.members[name] = Member(name, flags, folder / name, env)

    async def start(self, name: str) -> None:
        await anyio.to_thread.run_sync(self.members[name].start)

    async def kill(self, name: str) -> None:
        await anyio.to_thread.run_sync(self.members[name].kill)

    async def stop(self, name: str) -> None:
        await anyio.to_thread.run_sync(self.members[name].stop)

    async def whole(self) -> None:
        """Whoever was ended and not started again is started first."""
        for name, member in self.members.items():
            if member.child is None:
                await self.start(name)
        await super().whole()

    async def carrier(self, job_id: str) -> str | None:
        """The queen whose client reads this job; none when nobody does."""
        for name, url in self._queens.items():
            found: JobList = await self.http.call("GET", f"{url}/v1/jobs", JobList)
            if any(job.job_id == job_id and job.readers for job in found.jobs):
                return name
        return None

    def pids(self) -> dict[str, int]:
        children = {name: m.child.pid for name, m in self.members.items() if m.child is not None}
        return {**children, **super().pids()}

    def end(self) -> None:
        """Everything, at once and for good."""
        end_all(self.folder)
        for member in self.members.values():
            member.kill()


def _local(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _all_local(ports: Mapping[str, int]) -> dict[str, str]:
    """Names to addresses."""
    return {name: _local(port) for name, port in ports.items()}


def _settings(wanted: Mapping[str, str]) -> dict[str, str]:
    """Settings as environment."""
    return {f"RBEE_{key.upper()}": value for key, value in wanted.items()}


@asynccontextmanager
async def throwaway(http: Http, shape: Shape) -> AsyncIterator[Throwaway]:
    """A whole fleet with a worker on each hive, until the context is left, however it is left."""
    with tempfile.TemporaryDirectory(prefix="rbee-chaos-") as folder, guarded(Path(folder)):
        fleet = Throwaway(http, shape, Path(folder))
        try:
            async with anyio.create_task_group() as group:
                for name in fleet.members:
                    group.start_soon(fleet.start, name)
            await fleet.whole()
            yield fleet
        finally:
            fleet.end()
