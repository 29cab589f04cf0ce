"""`/v1/jobs` over HTTP: how the answer comes is the client's choice (design section 3.1).

Plain: the whole answer. Streamed: events, from the first. `Prefer: respond-async`: a 202 and an
address to attach to. A stream whose very first event is an error is answered as that error.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import Response

from rbee.contracts.answers import JobAccepted, JobList, JobView
from rbee.contracts.events import AnyEvent
from rbee.errors import Invalid, Late
from rbee.wire import sse
from rbee.wire.gone import unless_gone
from rbee.wire.jobs import Job, Jobs, Wanted
from rbee.wire.openapi import Endpoint
from rbee.wire.replies import error_reply, reply
from rbee.wire.stream import KEEP_ALIVE_S, EventStream, Translate, as_events

JOB_HEADER = "X-Rbee-Job-Id"
GRACE_HEADER = "X-Rbee-Grace-S"
MIGRATIONS_HEADER = "X-Rbee-Migrations"
CANCEL_S = 10.0
_JOB_ID = re.compile(r"job-[0-9a-f]{16}")
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")
Seek = Callable[[str], Awaitable[Job | None]]
"""Looks elsewhere for a job that is not here."""


def wants_async(request: Request) -> bool:
    return any("respond-async" in value for value in request.headers.getlist("prefer"))


def wanted(request: Request, longest_s: float = 0.0, *, detached: bool = False) -> Wanted:
    """How the client wants its job run, by its headers: under a name of its own, and how long
    without a reader (`longest_s` at most). Raises `Invalid`."""
    job_id = request.headers.get(JOB_HEADER, "")
    if job_id and _JOB_ID.fullmatch(job_id) is None:
        raise Invalid(f"{JOB_HEADER} is `job-` and 16 hex digits.", path=f"$.{JOB_HEADER}")
    grace = request.headers.get(GRACE_HEADER, "0")
    if _SECONDS.fullmatch(grace) is None:
        raise Invalid(f"{GRACE_HEADER} is a number of seconds.", path=f"$.{GRACE_HEADER}")
    return Wanted(detached, job_id, min(float(grace), longest_s))


def wants_events(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")


def accepted(job: Job) -> Response:
    """The 202 for a job that runs by itself."""
    body = JobAccepted(job.id, f"/v1/jobs/{job.id}/stream")
    headers = {JOB_HEADER: job.id, "Preference-Applied": "respond-async", "Location": body.sse_url}
    return reply(body, 202, headers)


async def streamed(
    jobs: Jobs, job: Job, request: Request, translate: Translate, end: bytes = sse.DONE
) -> Response:
    """The job's events and then `end`, or its error if it fails before anything was said."""
    jobs.attach(job)
    try:
        with anyio.move_on_after(KEEP_ALIVE_S):
            await unless_gone(request, lambda: job.log.wait(0))
    except BaseException:
        jobs.release(job)
        raise
    if job.error is not None and job.log.total == 1:
        jobs.release(job)
        return error_reply(job.error)
    return EventStream(job.log, 0, translate, told(job), lambda: jobs.release(job), end)


def told(job: Job) -> dict[str, str]:
    """What the head of an answer says of its job."""
    return {JOB_HEADER: job.id, MIGRATIONS_HEADER: str(job.migrations)}


async def whole(jobs: Jobs, job: Job, request: Request) -> Any:
    """The job's answer; raises its error. The job is cancelled when the client leaves."""
    jobs.attach(job)
    try:
        await unless_gone(request, job.finished.wait)
    finally:
        jobs.release(job)
    if job.error is not None:
        raise job.error
    return job.answer


class JobRoutes:
    """The handlers every server with jobs has beside `POST /v1/jobs`."""

    def __init__(
        self,
        jobs: Jobs,
        seek: Seek | None = None,
        others: Callable[[], list[JobView]] = list,
    ) -> None:
        """`seek` finds, and `others` lists, jobs that run elsewhere and could be attached to."""
        self._jobs = jobs
        self._seek = seek
        self._others = others

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/v1/jobs", self.list, "List jobs", answer=JobList),
            Endpoint("GET", "/v1/jobs/{job_id}", self.get, "A job's state", answer=JobView),
            Endpoint("DELETE", "/v1/jobs/{job_id}", self.cancel, "Cancel a job", answer=JobView),
            Endpoint(
                "GET",
                "/v1/jobs/{job_id}/stream",
                self.attach,
                "Attach to a job's events; resumes by Last-Event-ID or ?from=",
                answer=AnyEvent,
                media="text/event-stream",
                query=("from",),
            ),
        ]

    async def list(self, request: Request) -> Response:
        now = time.monotonic()
        own = [job.view(now) for job in self._jobs.all()]
        return reply(JobList([*own, *self._others()]))

    async def get(self, request: Request) -> Response:
        job = await self._job(request)
        return reply(job.view(time.monotonic()))

    async def cancel(self, request: Request) -> Response:
        job = await self._job(request)
        job.revoked = True
        job.cancel()
        with anyio.move_on_after(CANCEL_S):
            await job.finished.wait()
        if not job.finished.is_set():
            raise Late(f"Job {job.id} was asked to stop and has not, {CANCEL_S:.0f} s long.")
        return reply(job.view(time.monotonic()))

    async def attach(self, request: Request) -> Response:
        job = await self._job(request)
        cursor = resume_point(
            request.headers.get("last-event-id", ""), request.query_params.get("from", "")
        )
        job.log.since(cursor)  # raises Gone before the headers are sent
        self._jobs.attach(job)
        on_close = partial(self._jobs.release, job)
        return EventStream(job.log, cursor, as_events, told(job), on_close)

    async def _job(self, request: Request) -> Job:
        job_id: str = request.path_params["job_id"]
        if job_id not in self._jobs and self._seek is not None:
            found = await self._seek(job_id)
            if found is not None:
                return found
        return self._jobs.get(job_id)


def resume_point(last_event_id: str, first: str) -> int:
    """The number of the first event wanted: one past `Last-Event-ID`, or `?from=` itself."""
    text = first or last_event_id
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        where = "from" if first else "Last-Event-ID"
        raise Invalid(f"{where} is the number of an event, not {text[:40]!r}.", path=f"$.{where}")
    return int(text) + (0 if first else 1)
