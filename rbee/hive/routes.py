"""The hive over HTTP: operations as jobs, its own state, and the heartbeats of its workers."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from rbee.contracts.fleet import BeatAck, HiveBeat, WorkerBeat
from rbee.contracts.operations import (
    AnyOperation,
    HiveOperation,
    Infer,
    ModelDownload,
    Status,
    WorkerSpawn,
)
from rbee.hive.identity import Identity
from rbee.hive.nursery import Nursery
from rbee.hive.operations import Operations
from rbee.wire.codec import decode
from rbee.wire.jobroutes import (
    JOB_HEADER,
    JobRoutes,
    accepted,
    streamed,
    wants_async,
    wants_events,
    whole,
)
from rbee.wire.jobs import Jobs, Wanted
from rbee.wire.openapi import Endpoint
from rbee.wire.replies import reply
from rbee.wire.stream import as_events

BEAT_S = 1.0


class HiveRoutes:
    """The handlers of a hive."""

    def __init__(
        self,
        identity: Identity,
        jobs: Jobs,
        operations: Operations,
        nursery: Nursery,
        snapshot: Callable[[int], HiveBeat],
    ) -> None:
        self._identity = identity
        self._jobs = jobs
        self._operations = operations
        self._nursery = nursery
        self._snapshot = snapshot

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("POST", "/v1/jobs", self.submit, "Run an operation", body=HiveOperation),
            Endpoint("POST", "/v1/heartbeats", self.beat, "A worker reports", WorkerBeat, BeatAck),
            Endpoint("GET", "/v1/status", self.status, "The hive's state", answer=HiveBeat),
            *JobRoutes(self._jobs).endpoints(),
        ]

    async def beat(self, request: Request) -> Response:
        beat: WorkerBeat = decode(await request.body(), WorkerBeat)
        self._identity.check(beat.hive_id)
        await self._nursery.hear(beat)
        return reply(BeatAck(BEAT_S, self._identity.id))

    async def status(self, request: Request) -> Response:
        return reply(self._snapshot(0))

    async def submit(self, request: Request) -> Response:
        operation: AnyOperation = decode(await request.body(), AnyOperation)
        if isinstance(operation, Status | Infer):
            raise self._identity.refuse_inference()
        self._identity.check(operation.hive_id)
        job = self._jobs.start(
            str(type(operation).__struct_config__.tag),
            lambda job: self._operations.run(operation, job),
            Wanted(detached=wants_async(request)),
        )
        if job.detached:
            return accepted(job)
        if wants_events(request) and isinstance(operation, WorkerSpawn | ModelDownload):
            return await streamed(self._jobs, job, request, as_events)
        return reply(await whole(self._jobs, job, request), headers={JOB_HEADER: job.id})
