"""A hive, opened: everything it owns is opened here in order, and closed in reverse.

Closing: jobs are cancelled, workers are stopped (all at once), the queen gets a farewell.
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
from rbee.config import HiveConfig
from rbee.contracts.fleet import HiveBeat, WorkerState
from rbee.hive import launch, metrics
from rbee.hive.catalog import Catalog, make_folder
from rbee.hive.child import Command
from rbee.hive.devices import Devices
from rbee.hive.downloads import Downloads
from rbee.hive.identity import Identity, host_id
from rbee.hive.operations import Operations
from rbee.hive.routes import HiveRoutes
from rbee.hive.supervisor import Build, Supervisor
from rbee.wire.beats import Beater
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
    state: WorkerState = "ready"
    incarnation: str = ""

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


@asynccontextmanager
async def opened(config: HiveConfig, build: Build | None = None) -> AsyncIterator[Served]:
    """A hive, ready to be served. `build` says how workers are called; tests call others."""
    check_bind(config.bind, config.insecure)
    folder = _models_folder(config)
    make_folder(folder)
    socket = listen(config.bind, config.port)
    url = url_of(socket, advertised_host(config.bind, config.queen))
    async with Http() as http, anyio.create_task_group() as group:
        identity = Identity(config.id or host_id(), url, config.queen)
        hive = _assembled(config, identity, folder, group, build)
        await hive.catalog.refresh()
        beater = Beater(http, config.queen, hive.snapshot)
        hive.incarnation, hive.changed.listener = beater.incarnation, beater.poke
        jobs = Jobs(group, keep=config.jobs_kept, keep_s=config.jobs_kept_s)
        loops = (beater.loop, hive.catalog.loop, hive.devices.loop)
        try:
            app = _app(config, hive, jobs)
            yield Served(app, socket, url, loops, partial(_stopping, hive, jobs, beater))
        finally:
            with anyio.CancelScope(shield=True):
                jobs.close()
                await hive.supervisor.close()
                hive.state = "stopped"
                await beater.farewell()
            group.cancel_scope.cancel()


def _assembled(
    config: HiveConfig, identity: Identity, folder: Path, group: TaskGroup, build: Build | None
) -> Hive:
    """The owners, wired to each other."""
    changed = Changes()
    supervisor = Supervisor(group, config, build or _build(config, identity.id), changed)
    catalog = Catalog(folder, supervisor.loaded, changed)
    downloads = Downloads(group, folder, config, os.environ, changed)
    return Hive(identity, changed, Devices(changed), catalog, downloads, supervisor)


def _models_folder(config: HiveConfig) -> Path:
    named = Path(config.models_dir).expanduser() if config.models_dir else paths.models_dir()
    return named.absolute()


def _app(config: HiveConfig, hive: Hive, jobs: Jobs) -> ASGIApp:
    operations = Operations(
        hive.identity.id, config, hive.devices, hive.catalog, hive.downloads, hive.supervisor
    )
    return application(
        "hive",
        hive.identity.id,
        HiveRoutes(hive.identity, jobs, operations, hive.snapshot).endpoints(),
        hosts=known_hosts(config.bind, config.allowed_hosts),
        ready=lambda: hive.state == "ready",
        metrics=metrics.registry(hive.supervisor, hive.catalog, hive.downloads),
        max_body_bytes=config.max_body_bytes,
    )


def _stopping(hive: Hive, jobs: Jobs, beater: Beater) -> None:
    """The first signal: no new work, and the queen is told at once."""
    hive.state = "stopping"
    jobs.close()
    beater.poke()


def _build(config: HiveConfig, hive_id: str) -> Build:
    """Workers of rbee itself."""
    env = launch.environment(os.environ, config)

    def build(wish: launch.Wish) -> Command:
        return Command(launch.arguments(wish, config, hive_id, os.getpid()), env)

    return build
