"""Jobs over real sockets: every way to ask, watch, resume, cancel and abandon one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import anyio
import pytest
from starlette.requests import Request
from starlette.responses import Response

from rbee.contracts.answers import Deleted
from rbee.contracts.events import AnyEvent, Done, Logprob, Queued, Token
from rbee.errors import JobNotFound, ModelNotFound, Overloaded
from rbee.wire import codec, sse
from rbee.wire.drain import STANDS_S
from rbee.wire.eventlog import Reader
from rbee.wire.jobroutes import (
    JobRoutes,
    accepted,
    streamed,
    wanted,
    wants_async,
    wants_events,
    whole,
)
from rbee.wire.jobs import Job, Jobs, Wanted
from rbee.wire.openapi import Endpoint
from rbee.wire.replies import reply
from rbee.wire.stream import as_events
from tests.wire.harness import LIMIT_S, application_of, serving, until

pytestmark = pytest.mark.anyio
ASYNC = {"Prefer": "respond-async"}
EVENTS = {"Accept": "text/event-stream"}


def token(number: int) -> Token:
    return Token(index=number, text=f"t{number}", token_ids=[number])


@dataclass
class Works:
    """What the small server can do; the test holds its reins."""

    go: anyio.Event = field(default_factory=anyio.Event)
    entered: int = 0
    cancelled: int = 0

    async def hold(self, job: Job) -> Deleted:
        """Two events, then nothing until the test says so, then two more."""
        self.entered += 1
        job.emit(token(0), token(1))
        try:
            await self.go.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        job.emit(token(2), token(3))
        return Deleted("it")

    async def silent(self, job: Job) -> Deleted:
        self.entered += 1
        try:
            await anyio.sleep_forever()
        finally:
            self.cancelled += 1
        return Deleted("never")

    async def refuse(self, job: Job) -> None:
        raise ModelNotFound("No such model.", hint="fetch it", path="$.model")

    async def refuse_late(self, job: Job) -> None:
        job.emit(Queued(position=0))
        raise ModelNotFound("No such model.")

    async def crash(self, job: Job) -> None:
        raise LookupError("a secret inside")

    async def own_end(self, job: Job) -> Deleted:
        job.emit(Done(finish_reason="length"), token(9))
        return Deleted("x")


@dataclass
class Server:
    url: str
    jobs: Jobs
    works: Works
    http: aiohttp.ClientSession

    async def post(self, work: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        async with self.http.post(f"{self.url}/do/{work}", headers=headers) as answer:
            return answer.status, codec.decode(await answer.read(), dict)

    async def get(self, path: str, method: str = "GET") -> tuple[int, Any]:
        async with self.http.request(method, f"{self.url}{path}") as answer:
            return answer.status, codec.decode(await answer.read(), dict)

    async def events(self, path: str, headers: dict[str, str] | None = None) -> list[Any]:
        async with self.http.get(f"{self.url}{path}", headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return parsed(await answer.read())

    async def detached(self, work: str) -> str:
        status, body = await self.post(work, ASYNC)
        assert status == 202
        return str(body["job_id"])

    def only(self) -> Job:
        (job,) = self.jobs.all()
        return job


def parsed(body: bytes) -> list[Any]:
    *events, end = sse.FrameReader().feed(body)
    assert end == b"[DONE]"
    return [codec.decode(event, AnyEvent) for event in events]


@asynccontextmanager
async def small_server(**settings: Any) -> AsyncIterator[Server]:
    works = Works()
    async with anyio.create_task_group() as group:
        jobs = Jobs(group, **settings)

        async def do(request: Request) -> Response:
            run: Callable[[Job], Awaitable[Any]] = getattr(works, request.path_params["work"])
            job = jobs.start("do", run, wanted(request, detached=wants_async(request)))
            if job.detached:
                return accepted(job)
            if wants_events(request):
                return await streamed(jobs, job, request, as_events)
            return reply(await whole(jobs, job, request))

        endpoints = [Endpoint("POST", "/do/{work}", do, "Do"), *JobRoutes(jobs).endpoints()]
        async with (
            serving(application_of(endpoints), jobs.close) as url,
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT_S)) as http,
        ):
            yield Server(url, jobs, works, http)


async def test_asked_plainly() -> None:
    async with small_server() as server:
        server.works.go.set()
        assert await server.post("hold") == (200, {"deleted": "it"})
        assert server.only().state == "done" and server.only().readers == 0


async def test_asked_for_a_stream() -> None:
    async with small_server() as server:
        server.works.go.set()
        async with server.http.post(f"{server.url}/do/hold", headers=EVENTS) as answer:
            assert answer.headers["X-Rbee-Job-Id"] == server.only().id
            assert answer.headers["Cache-Control"] == "no-cache"
            events = parsed(await answer.read())
        assert events[:4] == [token(i) for i in range(4)]
        assert events[4].result == {"deleted": "it"}
        assert server.only().readers == 0


async def test_asked_to_respond_later() -> None:
    async with small_server() as server:
        async with server.http.post(f"{server.url}/do/hold", headers=ASYNC) as answer:
            body: dict[str, str] = codec.decode(await answer.read(), dict)
            assert answer.status == 202
            assert answer.headers["Preference-Applied"] == "respond-async"
            assert body["sse_url"] == answer.headers["Location"]
        await until(lambda: server.works.entered == 1)  # it runs although nobody reads
        server.works.go.set()
        assert len(await server.events(body["sse_url"])) == 5
        assert len(await server.events(body["sse_url"])) == 5  # again and again
        status, view = await server.get(f"/v1/jobs/{body['job_id']}")
        assert (status, view["state"], view["events"], view["readers"]) == (200, "done", 5, 0)
        assert view["result"] == {"deleted": "it"}


@pytest.mark.parametrize("first", range(7))
@pytest.mark.parametrize("how", ["from", "last-event-id"])
async def test_resuming_tells_each_event_once(first: int, how: str) -> None:
    async with small_server() as server:
        server.works.go.set()
        path = f"/v1/jobs/{await server.detached('hold')}/stream"
        everything = await server.events(path)
        if how == "from":
            rest = await server.events(f"{path}?from={first}", {"Last-Event-ID": "0"})
        else:
            rest = await server.events(path, {"Last-Event-ID": str(first - 1)} if first else None)
        assert rest == everything[first:]


async def test_a_reader_that_is_cut_off_misses_nothing() -> None:
    async with small_server() as server:
        path = f"{server.url}/v1/jobs/{await server.detached('hold')}/stream"
        async with server.http.get(path) as answer:
            seen: list[AnyEvent] = [codec.decode(e, AnyEvent) for e in await read_frames(answer, 2)]
            answer.close()
        server.works.go.set()
        rest = await server.events(path.removeprefix(server.url), {"Last-Event-ID": "1"})
        assert [*seen, *rest][:4] == [token(i) for i in range(4)]
        assert len(rest) == 3


async def read_frames(answer: aiohttp.ClientResponse, count: int) -> list[bytes]:
    reader, got = sse.FrameReader(), list[bytes]()
    with anyio.fail_after(LIMIT_S):
        while len(got) < count:
            got += reader.feed(await answer.content.readany())
    return got


@pytest.mark.parametrize("where", ["-1", "x", "1.5", "9" * 40, "\u0661", "0x1", " 1"])
async def test_resuming_from_nonsense(where: str) -> None:
    async with small_server() as server:
        job = await server.detached("silent")
        status, body = await server.get(f"/v1/jobs/{job}/stream?from={where}")
        assert (status, body["error"]["param"]) == (422, "from")
        assert server.jobs.get(job).readers == 0


async def test_an_event_that_is_gone_is_an_http_error() -> None:
    async with small_server() as server:
        job = server.jobs.get(await server.detached("silent"))
        job.emit(*(token(i) for i in range(20_000)))
        status, body = await server.get(f"/v1/jobs/{job.id}/stream")
        assert (status, body["error"]["code"]) == (410, "events_gone")
        assert job.readers == 0


@pytest.mark.parametrize("headers", [{}, EVENTS], ids=["plain", "streamed"])
async def test_a_refusal_is_an_http_error(headers: dict[str, str]) -> None:
    async with small_server() as server:
        status, body = await server.post("refuse", headers)
        assert status == 404
        assert body["error"]["code"] == "model_not_found"
        assert body["error"]["hint"] == "fetch it" and body["error"]["param"] == "model"
        assert server.only().state == "failed" and server.only().readers == 0


async def test_a_refusal_after_an_event_is_the_streams_end() -> None:
    async with small_server() as server:
        async with server.http.post(f"{server.url}/do/refuse_late", headers=EVENTS) as answer:
            assert answer.status == 200
            first, last = parsed(await answer.read())
        assert isinstance(first, Queued) and last.code == "model_not_found"
        status, _ = await server.post("refuse_late")
        assert status == 404  # asked plainly it is an error all the same


@pytest.mark.parametrize("headers", [{}, EVENTS], ids=["plain", "streamed"])
async def test_a_crash_inside_the_work_fails_the_job_alone(headers: dict[str, str]) -> None:
    async with small_server() as server:
        status, body = await server.post("crash", headers)
        assert (status, body["error"]["code"]) == (500, "internal_error")
        assert "LookupError" in body["error"]["message"]
        assert "secret" not in body["error"]["message"]
        assert server.only().state == "failed"
        server.works.go.set()
        assert (await server.post("hold"))[0] == 200  # the server lives on


async def test_work_that_tells_its_own_end() -> None:
    async with small_server() as server:
        job = await server.detached("own_end")
        (only,) = await server.events(f"/v1/jobs/{job}/stream")
        assert only.finish_reason == "length"


@pytest.mark.parametrize("work", ["hold", "silent"])
@pytest.mark.parametrize("headers", [{}, EVENTS], ids=["plain", "streamed"])
async def test_a_client_that_leaves_takes_its_job_along(work: str, headers: dict[str, str]) -> None:
    async with small_server() as server:
        with anyio.move_on_after(LIMIT_S) as leaving:
            async with anyio.create_task_group() as group:
                group.start_soon(server.post, work, headers)
                await until(lambda: server.works.entered == 1)
                await until(lambda: server.only().readers == 1)
                group.cancel_scope.cancel()
        assert not leaving.cancelled_caught
        await until(lambda: server.only().finished.is_set())
        assert server.works.cancelled == 1
        assert server.only().state == "cancelled" and server.only().readers == 0


async def test_a_job_asked_for_later_outlives_its_readers() -> None:
    async with small_server() as server:
        job = server.jobs.get(await server.detached("hold"))
        async with server.http.get(f"{server.url}/v1/jobs/{job.id}/stream") as answer:
            await read_frames(answer, 2)
            assert job.readers == 1
            answer.close()
        await until(lambda: job.readers == 0)
        server.works.go.set()
        await until(lambda: job.state == "done")


async def test_a_second_reader_keeps_a_job_alive() -> None:
    async with small_server() as server:
        async with server.http.post(f"{server.url}/do/hold", headers=EVENTS) as first:
            await read_frames(first, 2)
            job = server.only()
            async with server.http.get(f"{server.url}/v1/jobs/{job.id}/stream") as second:
                await read_frames(second, 2)
                first.close()
                await until(lambda: job.readers == 1)
                server.works.go.set()
                assert len(await read_frames(second, 4)) == 4
        assert job.state == "done"


async def test_an_orphan_has_its_grace() -> None:
    """A reader that comes back within it finds the job alive, and the grace begins anew."""
    async with small_server() as server:
        job = server.jobs.start("do", server.works.silent, Wanted(grace_s=0.3))
        server.jobs.attach(job)
        server.jobs.release(job)
        await anyio.sleep(0.2)
        server.jobs.attach(job)
        server.jobs.release(job)
        left = anyio.current_time()
        with anyio.fail_after(LIMIT_S):
            await job.finished.wait()
        assert job.state == "cancelled"
        assert anyio.current_time() - left > 0.28


async def test_a_reader_that_comes_back_in_time_saves_the_job() -> None:
    async with small_server() as server:
        job = server.jobs.start("do", server.works.hold, Wanted(grace_s=0.05))
        server.jobs.attach(job)
        server.jobs.release(job)
        server.jobs.attach(job)
        with anyio.move_on_after(0.2):
            await job.finished.wait()
        assert job.state == "running"
        server.works.go.set()
        await until(lambda: job.state == "done")
        server.jobs.release(job)


async def test_cancelling() -> None:
    async with small_server() as server:
        job = await server.detached("hold")
        async with server.http.get(f"{server.url}/v1/jobs/{job}/stream") as reader:
            await read_frames(reader, 2)
            status, view = await server.get(f"/v1/jobs/{job}", "DELETE")
            assert (status, view["state"]) == (200, "cancelled")
            assert view["error"]["code"] == "cancelled"
            last, end = await read_frames(reader, 2)
        assert b'"type":"failed"' in last and end == b"[DONE]"
        assert server.works.cancelled == 1
        again, view = await server.get(f"/v1/jobs/{job}", "DELETE")
        assert (again, view["state"]) == (200, "cancelled")


async def test_cancelling_before_the_work_began_to_run() -> None:
    async with small_server() as server:
        job = server.jobs.start("do", server.works.hold)
        job.cancel()
        await until(lambda: job.finished.is_set())
        assert job.state == "cancelled" and job.log.ended


async def test_cancelling_what_is_done_changes_nothing() -> None:
    async with small_server() as server:
        server.works.go.set()
        job = await server.detached("hold")
        await server.events(f"/v1/jobs/{job}/stream")
        status, view = await server.get(f"/v1/jobs/{job}", "DELETE")
        assert (status, view["state"], view["error"]) == (200, "done", None)


async def test_listing() -> None:
    async with small_server() as server:
        ids = [await server.detached("silent") for _ in range(3)]
        _, body = await server.get("/v1/jobs")
        assert [job["job_id"] for job in body["jobs"]] == ids
        assert {job["state"] for job in body["jobs"]} == {"running"}


@pytest.mark.parametrize(("method", "end"), [("GET", ""), ("DELETE", ""), ("GET", "/stream")])
async def test_a_job_nobody_has(method: str, end: str) -> None:
    async with small_server() as server:
        status, body = await server.get(f"/v1/jobs/job-nope{end}", method)
        assert (status, body["error"]["code"]) == (404, "job_not_found")


async def test_only_so_many_finished_jobs_are_kept() -> None:
    async with small_server(keep=3) as server:
        ids = [await server.detached("crash") for _ in range(8)]
        await until(lambda: all(job.ended for job in server.jobs.all()))
        assert [job.id for job in server.jobs.all()] == ids[-3:]
        with pytest.raises(JobNotFound):
            server.jobs.get(ids[0])


async def test_running_jobs_take_no_room_from_finished_ones() -> None:
    async with small_server(keep=1) as server:
        await server.detached("silent")
        await server.detached("silent")
        finished = server.jobs.get(await server.detached("crash"))
        await finished.finished.wait()
        assert finished in server.jobs.all()


async def test_running_jobs_and_jobs_being_read_are_never_forgotten() -> None:
    async with small_server(keep=1, keep_s=0.0) as server:
        running = await server.detached("silent")
        read = server.jobs.get(await server.detached("crash"))
        server.jobs.attach(read)
        for _ in range(4):
            await server.detached("crash")
        await until(lambda: len(server.jobs.all()) == 2)
        assert [job.id for job in server.jobs.all()] == [running, read.id]
        server.jobs.release(read)


async def test_old_jobs_are_forgotten() -> None:
    async with small_server(keep_s=0.02) as server:
        await server.detached("crash")
        await until(lambda: not server.jobs.all())


async def test_closing_ends_what_runs_saying_why_and_accepts_nothing_more() -> None:
    async with small_server() as server:
        job = await server.detached("hold")
        async with server.http.get(f"{server.url}/v1/jobs/{job}/stream") as reader:
            await read_frames(reader, 2)
            server.jobs.close()
            last, end = await read_frames(reader, 2)
            assert b'"code":"draining"' in last and end == b"[DONE]"
        status, body = await server.post("silent")
        assert (status, body["error"]["code"]) == (503, "draining")
        assert body["error"]["retry_after_s"] == 2.0


async def test_a_drain_waits_for_those_who_read_on_and_not_for_those_who_stand() -> None:
    async def done(job: Job) -> None:
        job.emit(Token(index=0, text="a", token_ids=[1]))

    async with anyio.create_task_group() as group:
        jobs = Jobs(group)
        job = jobs.start("do", done)
        jobs.attach(job)
        await job.finished.wait()
        jobs.drain()
        reader = Reader(0, lambda: None)
        with job.log.read_by(reader), anyio.move_on_after(3 * STANDS_S) as early:
            async with anyio.create_task_group() as reading:

                async def read() -> None:
                    while True:
                        await anyio.sleep(STANDS_S / 3)
                        reader.cursor += 1

                reading.start_soon(read)
                await jobs.drained()
        assert early.cancelled_caught
        with anyio.fail_after(10 * STANDS_S):
            await jobs.drained()
        jobs.release(job)


async def test_a_flood_of_refusals_pushes_no_answer_out() -> None:
    async with small_server(keep=3) as server:
        server.works.go.set()
        assert (await server.post("hold"))[0] == 200
        [answer] = server.jobs.all()
        for _ in range(5):
            assert (await server.post("refuse"))[0] == 404
        kept = server.jobs.all()
        assert len(kept) == 3 and answer in kept


async def test_what_was_refused_may_be_asked_again_under_its_name() -> None:
    name = {"X-Rbee-Job-Id": "job-00000000000000aa"}
    async with small_server() as server:
        for _ in range(2):
            assert (await server.post("refuse", name))[0] == 404
        server.works.go.set()
        assert (await server.post("hold", name))[0] == 200
        status, body = await server.post("hold", name)
        assert (status, body["error"]["code"]) == (409, "conflict")


async def test_what_finished_jobs_keep_is_bounded_by_their_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each log probability weighs as much as an event."""
    monkeypatch.setattr("rbee.wire.jobs.KEPT_WEIGHT", 100)
    score = Logprob(1, "a", -0.5, [97], [Logprob(2, "b", -1.0, [98])] * 4)

    async def speak(job: Job) -> None:
        job.emit(*(Token(index=n, text="a", token_ids=[1], logprobs=[score]) for n in range(10)))

    async with small_server() as server:
        for _ in range(4):
            job = server.jobs.start("do", speak)
            await job.finished.wait()
        assert job.weight == 61
        assert server.jobs.all() == [job]


async def test_the_number_of_running_jobs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rbee.wire.jobs.MAX_RUNNING", 2)
    async with small_server() as server:
        for _ in range(2):
            server.jobs.start("do", server.works.silent, Wanted(detached=True))
        with pytest.raises(Overloaded):
            server.jobs.start("do", server.works.silent)


async def test_a_job_that_will_not_stop_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rbee.wire.jobroutes.CANCEL_S", 0.05)
    stop = anyio.Event()

    async def stubborn(job: Job) -> None:
        with anyio.CancelScope(shield=True):
            await stop.wait()

    async with small_server() as server:
        job = server.jobs.start("do", stubborn, Wanted(detached=True))
        status, body = await server.get(f"/v1/jobs/{job.id}", "DELETE")
        assert (status, body["error"]["code"]) == (504, "deadline_exceeded")
        stop.set()
        await until(lambda: job.finished.is_set())
