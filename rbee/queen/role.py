"""The queen, opened: everything she is made of, wired together and closed again in one place."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup

from rbee.config import QueenConfig
from rbee.queen.adoption import Adoption
from rbee.queen.budget import Budget
from rbee.queen.dispatch import Dispatch
from rbee.queen.errands import Errands
from rbee.queen.inference import Inference
from rbee.queen.metrics import Metrics
from rbee.queen.openai.more_routes import MoreRoutes
from rbee.queen.openai.routes import OpenAIRoutes
from rbee.queen.pursuit import Pursuit
from rbee.queen.questions import Questions
from rbee.queen.registry import Registry
from rbee.queen.retries import Retries
from rbee.queen.routes import QueenRoutes
from rbee.wire.drain import Drain, counted
from rbee.wire.guard import known_hosts
from rbee.wire.http import Http
from rbee.wire.jobroutes import JobRoutes
from rbee.wire.jobs import Jobs
from rbee.wire.pages import application
from rbee.wire.server import Served, check_bind, listen, url_of

TICK_S = 0.25
"""How often the clock alone may change something: silence, limits of waiting."""
ASLEEP_S = 4 * TICK_S
"""A tick that is so late means that the queen was stopped, not that all others fell silent."""


@asynccontextmanager
async def opened(config: QueenConfig) -> AsyncIterator[Served]:
    """The queen, ready to serve. Raises `Usage` for a bind that is not allowed and `PortInUse`."""
    check_bind(config.bind, config.insecure)
    made = listen(config.bind, config.port)
    try:
        async with Http() as http, anyio.create_task_group() as group:
            yield _wired(config, made, http, group)
            group.cancel_scope.cancel()
    finally:
        made.close()


def _wired(config: QueenConfig, made: socket.socket, http: Http, group: TaskGroup) -> Served:
    registry = _registry(config)
    dispatch = _dispatch(config, registry, Errands(group, http, config.spawn_limit_s))
    metrics = Metrics(dispatch.view)
    dispatch.on_refused(metrics.refused)
    retries = Retries(dispatch.leases, metrics, Budget())
    pursuit = Pursuit(dispatch, retries, metrics, config.orphan_grace_s)
    inference = Inference(pursuit, http, metrics, config.orphan_grace_s)
    questions = Questions(dispatch, retries, http)
    jobs = Jobs(group, keep=config.jobs_kept, keep_s=config.jobs_kept_s)
    adoption = Adoption(registry, inference, jobs, http, config.orphan_grace_s)
    app = application(
        "queen",
        "queen",
        [
            *QueenRoutes(registry, dispatch, inference, jobs).endpoints(),
            *JobRoutes(jobs, adoption.seek, adoption.others).endpoints(),
            *OpenAIRoutes(registry, inference, questions, jobs).endpoints(),
            *MoreRoutes(inference, questions, jobs).endpoints(),
        ],
        hosts=known_hosts(config.bind, config.allowed_hosts),
        ready=lambda: not jobs.draining,
        metrics=metrics.registry,
        max_body_bytes=config.max_body_bytes,
    )

    async def tick() -> None:
        while True:
            await anyio.sleep(TICK_S)
            registry.expire(time.monotonic())
            dispatch.pump()

    def stopping() -> None:
        pursuit.leaving = True
        jobs.close()
        dispatch.close()

    drain = _drain(jobs, dispatch, config.drain_s)
    return Served(app, made, url_of(made), (tick,), stopping, drain)


def _drain(jobs: Jobs, dispatch: Dispatch, limit_s: float) -> Drain:
    """No new jobs; those that run may finish, and what asks workers without being a job."""

    async def run() -> None:
        jobs.drain()
        await jobs.drained()
        while dispatch.view().leased:  # noqa: ASYNC110 - it tells nobody when a lease ends
            await anyio.sleep(TICK_S)

    return Drain(run, limit_s, lambda: counted(jobs.running, "answer"))


def _registry(config: QueenConfig) -> Registry:
    return Registry(
        time.monotonic(),
        beat_s=config.beat_s,
        beats_missed=config.beats_missed,
        settle_s=config.settle_s,
        hostname=socket.gethostname(),
        awake_s=ASLEEP_S,
    )


def _dispatch(config: QueenConfig, registry: Registry, errands: Errands) -> Dispatch:
    return Dispatch(
        registry,
        errands,
        queue_limit=config.queue_limit,
        wait_limit_s=config.wait_limit_s,
        spawn_limit_s=config.spawn_limit_s,
    )
