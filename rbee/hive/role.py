"""A hive, opened: everything it owns is opened here in order, and closed in reverse.

1. Workers of an earlier life are taken in before the first heartbeat.
2. At the end workers drain, all at once; jobs are cancelled; workers that are left are stopped; the
   queens get a farewell.
"""

from __future__ import annotations

import os
import socket as sockets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import psutil
from anyio.abc import TaskGroup
from starlette.types import ASGIApp

from rbee import __version__, paths
from rbee.config import HiveConfig, queens
from rbee.contracts.fleet import HiveBeat, WorkerState
from rbee.hive import launch, metrics
from rbee.hive.catalog import Catalog, make_folder
from rbee.hive.devices import Devices
from rbee.hive.downloads import Downloads
from rbee.hive.identity import Identity, host_id
from rbee.hive.nursery import Nursery
from rbee.hive.operations import Operations
from rbee.hive.orphans import Orphans
from rbee.hive.routes import HiveRoutes
from rbee.hive.supervisor import Build, Supervisor
from rbee.wire.beats import Beaters
from rbee.wire.drain import Drain, counted
from rbee.wire.guard import known_hosts
from rbee.wire.http import Http
from rbee.wire.jobs import Jobs
from rbee.wire.pages import application
from rbee.wire.server import Served, advertised_host, check_bind, listen, url_of


@dataclass
class Changes:
    """Where owners say that something changed; the beater listens once it is there."""

    listener: Callable[[], None] = lambda: None

    def __call__(self) -> None:
        self.listener()


@dataclass
class Hive:
    """The owners of one hive's state, and what is told of them together."""

    identity: Identity
    changed: Changes
    devices: Devices
    catalog: Catalog
    downloads: Downloads
    supervisor: Supervisor
    ending: WorkerState | None = None
    incarnation: str = ""

    @property
    def state(self) -> WorkerState:
        return self.ending or ("draining" if self.supervisor.draining else "ready")

    def snapshot(self, seq: int) -> HiveBeat:
        """The whole state of this hive, now."""
        memory = psutil.virtual_memory()
        return HiveBeat(
            id=self.identity.id,
            incarnation=self.incarnation,
            seq=seq,
            url=self.identity.url,
            hostname=sockets.gethostname(),
            state=self.state,
            devices=self.devices.now(),
            models=self.catalog.entries(),
            workers=self.supervisor.view(),
            memory_total=int(memory.total),
            memory_free=int(memory.available),
            version=__version__,
        )


MakeBuild = Callable[[HiveConfig, launch.Owner], Build]
"""How the workers of a hive are called; tests call others."""


@asynccontextmanager
async def opened(config: HiveConfig, make: MakeBuild | None = None) -> AsyncIterator[Served]:
    """A hive, ready to be served."""
    check_bind(config.bind, config.insecure)
    folder = _models_folder(config)
    make_folder(folder)
    socket = listen(config.bind, config.port)
    host = advertised_host(config.bind, next(iter(queens(config.queen)), ""))
    owner = launch.Owner(config.id or host_id(), url_of(socket))
    async with Http() as http, anyio.create_task_group() as group:
        identity = Identity(owner.id, url_of(socket, host), " or ".join(queens(config.queen)))
        hive = _assembled(config, identity, folder, group, (make or _build)(config, owner))
        await hive.catalog.refresh()
        nursery = Nursery(hive.supervisor, Orphans(owner, config.queen, host, hive.catalog.id_of))
        beaters = Beaters(http, queens(config.queen), hive.snapshot)
        hive.incarnation, hive.changed.listener = beaters.incarnation, beaters.poke
        jobs = Jobs(group, keep=config.jobs_kept, keep_s=config.jobs_kept_s)
        loops = (beaters.loop, hive.catalog.loop, hive.devices.loop, hive.supervisor.watch)
        try:
            await nursery.gather()
            app = _app(config, hive, jobs, nursery)
            stopping = partial(_stopping, hive, jobs)
            yield Served(app, socket, identity.url, loops, stopping, _drain(hive, config.drain_s))
        finally:
            with anyio.CancelScope(shield=True):
                jobs.close()
                await hive.supervisor.close()
                hive.ending = "stopped"
                await beaters.farewell()
            group.cancel_scope.cancel()


def _assembled(
    config: HiveConfig, identity: Identity, folder: Path, group: TaskGroup, build: Build
) -> Hive:
    """The owners, wired to each other."""
    changed = Changes()
    supervisor = Supervisor(group, config, build, changed)
    catalog = Catalog(folder, supervisor.loaded, changed)
    downloads = Downloads(group, folder, config, os.environ, changed)
    return Hive(identity, changed, Devices(changed), catalog, downloads, supervisor)


def _models_folder(config: HiveConfig) -> Path:
    named = Path(config.models_dir).expanduser() if config.models_dir else paths.models_dir()
    return named.absolute()


def _app(config: HiveConfig, hive: Hive, jobs: Jobs, nursery: Nursery) -> ASGIApp:
    operations = Operations(
        hive.identity.id, config, hive.devices, hive.catalog, hive.downloads, hive.supervisor
    )
    return application(
        "hive",
        hive.identity.id,
        HiveRoutes(hive.identity, jobs, operations, nursery, hive.snapshot).endpoints(),
        hosts=known_hosts(config.bind, config.allowed_hosts),
        ready=lambda: hive.state == "ready",
        metrics=metrics.registry(hive.supervisor, hive.catalog, hive.downloads),
        max_body_bytes=config.max_body_bytes,
    )


def _drain(hive: Hive, limit_s: float) -> Drain:
    """The first signal: no worker is started any more, and those there are finish."""

    async def run() -> None:
        await hive.supervisor.drain(limit_s)

    return Drain(run, limit_s, lambda: counted(hive.supervisor.running, "answer"))


def _stopping(hive: Hive, jobs: Jobs) -> None:
    hive.ending = "stopping"
    jobs.close()
    hive.changed()


def _build(config: HiveConfig, owner: launch.Owner) -> Build:
    """Workers of rbee itself."""
    env = launch.environment(os.environ, config)

    def build(wish: launch.Wish) -> launch.Command:
        return launch.Command(launch.arguments(wish, config, owner, os.getpid()), env)

    return build
