"""Answers that another queen had asked for: found by their worker's heartbeats, and gone on with.

1. Nothing is taken over before somebody asks for it: a second queen leaves the first one alone.
2. A queen just started waits for the heartbeats before she says that nobody has a job.
3. Of several workers that have an answer, the one that was asked last is believed: those before it
   were given up, and go on in vain.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import anyio

from rbee.contracts.answers import JobView
from rbee.contracts.fleet import WorkerBeat
from rbee.contracts.operations import Infer
from rbee.contracts.worker_api import Begun
from rbee.errors import NotFound, RbeeError, Unavailable
from rbee.queen.inference import Inference
from rbee.queen.registry import Registry
from rbee.wire.http import Http
from rbee.wire.jobs import Job, Jobs, Wanted

LOOK_S = 0.05
ASK_S = 5.0
MOST_ASKED = 4
Writing = tuple[WorkerBeat, Begun, Infer]
"""A worker that has an answer, what it was asked for, and what was said before its log begins."""


class Adoption:
    """Looks for jobs that are not this queen's own, yet."""

    def __init__(
        self,
        registry: Registry,
        inference: Inference,
        jobs: Jobs,
        http: Http,
        grace_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._inference = inference
        self._jobs = jobs
        self._http = http
        self._grace_s = grace_s
        self._clock = clock

    async def seek(self, job_id: str) -> Job | None:
        """The job, taken over from the worker that has it; None when none has. Raises
        `Unavailable` when one says so in its heartbeats, and does not answer."""
        found = await self._writing(job_id)
        if found is None:
            return None
        worker, begun, infer = found
        if job_id in self._jobs:  # another asker was quicker
            return self._jobs.get(job_id)
        wanted = Wanted(job_id=job_id, grace_s=self._grace_s, first=begun.first)
        job = self._jobs.start(
            "infer", lambda job: self._inference.take_over(begun, infer, worker, job), wanted
        )
        self._jobs.attach(job)
        self._jobs.release(job)  # from now on the grace counts
        return job

    def others(self) -> list[JobView]:
        """The running jobs that nobody has asked this queen for."""
        return [
            JobView(
                job_id=job_id, operation="infer", state="running", age_s=0.0, events=0, readers=0
            )
            for job_id in self._registry.jobs(self._clock())
            if job_id not in self._jobs
        ]

    async def _writing(self, job_id: str) -> Writing | None:
        found: list[Writing] = []
        silent: RbeeError | None = None
        for worker in (await self._holders(job_id))[:MOST_ASKED]:
            url = f"{worker.url}/v1/answers/{job_id}"
            try:
                begun: Begun = await self._http.call("GET", url, Begun, timeout_s=ASK_S)
            except NotFound:
                continue  # it has ended meanwhile, or cannot be attached to
            except RbeeError as exc:
                silent = exc
                continue
            if begun.infer is not None:
                found.append((worker, begun, begun.infer))
        if silent is not None and not found:
            raise Unavailable(
                f"A worker has job {job_id!r}, and does not answer: {silent.message}",
                hint="try again: it is asked anew, or known to be gone",
                retry_after_s=1.0,
            ) from silent
        return max(found, key=lambda one: one[1].tries, default=None)

    async def _holders(self, job_id: str) -> Sequence[WorkerBeat]:
        while True:
            found = self._registry.holders(job_id, self._clock())
            if found or self._registry.view(self._clock()).settled:
                return found
            await anyio.sleep(LOOK_S)
