"""The queen's own HTTP: heartbeats, jobs, status. The dialects are in `openai/`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from rbee import __version__
from rbee.contracts.answers import InferAnswer
from rbee.contracts.fleet import Beat, BeatAck, FleetStatus, HiveBeat, ModelStatus
from rbee.contracts.operations import AnyOperation, HiveOperation, Infer, Status
from rbee.errors import Misdirected
from rbee.queen.dispatch import Dispatch
from rbee.queen.fleet import Fleet
from rbee.queen.inference import Inference, check
from rbee.queen.registry import Registry
from rbee.wire.codec import decode
from rbee.wire.jobroutes import (
    accepted,
    streamed,
    told,
    wanted,
    wants_async,
    wants_events,
    whole,
)
from rbee.wire.jobs import Jobs
from rbee.wire.openapi import Endpoint
from rbee.wire.replies import reply
from rbee.wire.stream import as_events


class QueenRoutes:
    """Handlers over the queen's parts."""

    def __init__(
        self, registry: Registry, dispatch: Dispatch, inference: Inference, jobs: Jobs
    ) -> None:
        self._registry = registry
        self._dispatch = dispatch
        self._inference = inference
        self._jobs = jobs
        self._started = time.monotonic()

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "POST", "/v1/heartbeats", self.beat, "Report a hive or a worker", Beat, BeatAck
            ),
            Endpoint("POST", "/v1/jobs", self.jobs, "Run an operation", AnyOperation, InferAnswer),
            Endpoint("GET", "/v1/status", self.status, "The whole fleet", answer=FleetStatus),
        ]

    async def beat(self, request: Request) -> Response:
        beat: Beat = decode(await request.body(), Beat)
        ack = self._registry.beat(beat, time.monotonic())
        self._dispatch.pump()
        return reply(ack)

    async def status(self, request: Request) -> Response:
        return reply(self._status())

    async def jobs(self, request: Request) -> Response:
        operation: AnyOperation = decode(await request.body(), AnyOperation)
        match operation:
            case Status():
                return reply(self._status())
            case Infer():
                return await self._infer(operation, request)
            case _:
                raise misdirected(operation, self._registry.view(time.monotonic()))

    async def _infer(self, infer: Infer, request: Request) -> Response:
        check(infer)
        detached = wants_async(request)
        if wants_events(request) and not detached:
            infer.stream = True
        job = self._jobs.start(
            "infer",
            lambda job: self._inference.run(infer, job),
            wanted(request, self._inference.grace_s, detached=detached),
        )
        if detached:
            return accepted(job)
        if infer.stream:
            return await streamed(self._jobs, job, request, as_events)
        return reply(await whole(self._jobs, job, request), headers=told(job))

    def _status(self) -> FleetStatus:
        now = time.monotonic()
        workers = self._registry.workers(now)
        for status in workers:
            status.leased = self._dispatch.leased_on(status.worker)
        return FleetStatus(
            queen=self._registry.life,
            version=__version__,
            uptime_s=round(now - self._started, 3),
            hives=self._registry.hives(now),
            workers=workers,
            models=models_of(self._registry.view(now)),
            queue=self._dispatch.view(),
        )


def models_of(fleet: Fleet) -> list[ModelStatus]:
    """Every model the fleet knows, the hives that have the file, the workers that run it."""
    hives: dict[str, list[str]] = {}
    for hive in fleet.hives:
        for entry in hive.models:
            hives.setdefault(entry.id, []).append(hive.id)
    return [
        ModelStatus(
            id=e.id,
            sha256=e.sha256,
            size=e.size,
            quantisation=e.quantisation,
            context=e.context,
            hives=hives.get(e.id, []),
            workers=[w.id for w in fleet.holders.get(e.id, ())],
            problem=e.problem,
        )
        for e in fleet.entries
    ]


def misdirected(operation: HiveOperation, fleet: Fleet) -> Misdirected:
    """The refusal that says whom to ask: the hive that was meant, else all that are known."""
    tag: Any = operation.__struct_config__.tag
    meant: Sequence[HiveBeat] = fleet.hives_named(operation.hive_id) or fleet.hives
    known = ", ".join(f"{h.id} at {h.url}" for h in meant[:8])
    where = f"Ask {known}" if known else "No hive has reported yet"
    return Misdirected(
        f"{tag} is asked of a hive, not of the queen. {where}.",
        hint=f"send it to {meant[0].url}/v1/jobs" if meant else "start a hive with: rbee up",
        path="$.operation",
    )
