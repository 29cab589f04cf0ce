"""A server with nothing of rbee's roles, as a process: `python -m tests.wire.small [WISH ...]`.

Wishes: `crash` (a loop that crashes once the server is ready), `two` (a second server in the same
process), `port=N`, `draining=S` (what runs may finish, for S seconds).

`/s` streams a job that never ends, `/count` one that `/finish` ends, `/deaf` what nothing ends.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import anyio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from rbee import log
from rbee.contracts.answers import Deleted
from rbee.contracts.events import Token
from rbee.errors import RbeeError
from rbee.wire import server
from rbee.wire.drain import Drain, counted
from rbee.wire.jobroutes import streamed
from rbee.wire.jobs import Job, Jobs
from rbee.wire.openapi import Endpoint
from rbee.wire.replies import reply
from rbee.wire.stream import as_events
from tests.wire.harness import application_of


async def _endless(job: Job) -> Deleted:
    job.emit(Token(index=0, text="first", token_ids=[1]))
    await anyio.sleep_forever()
    return Deleted("never")


async def _deaf(request: Request) -> Response:
    async def body() -> AsyncIterator[bytes]:
        yield b"data: first\n\n"
        await anyio.sleep_forever()

    return StreamingResponse(body())


async def _crash() -> None:
    await anyio.sleep(0.3)
    raise LookupError("a loop crashed")


def _number(wishes: list[str], name: str) -> float | None:
    return next((float(w.partition("=")[2]) for w in wishes if w.startswith(f"{name}=")), None)


def _drain(jobs: Jobs, limit_s: float | None) -> Drain | None:
    async def run() -> None:
        jobs.drain()
        await jobs.drained()

    return None if limit_s is None else Drain(run, limit_s, lambda: counted(jobs.running, "job"))


async def _main(wishes: list[str]) -> None:
    port = int(_number(wishes, "port") or 0)
    socket = server.listen("127.0.0.1", port)
    async with anyio.create_task_group() as group:
        jobs = Jobs(group)

        async def stream(request: Request) -> Response:
            return await streamed(jobs, jobs.start("do", _endless), request, as_events)

        enough = anyio.Event()

        async def counting(job: Job) -> Deleted:
            job.emit(Token(index=0, text="first", token_ids=[1]))
            await enough.wait()
            return Deleted("counted")

        async def count(request: Request) -> Response:
            return await streamed(jobs, jobs.start("count", counting), request, as_events)

        async def finish(request: Request) -> Response:
            enough.set()
            return reply(Deleted("finished"))

        app = application_of(
            [
                Endpoint("GET", "/s", stream, "Stream"),
                Endpoint("GET", "/count", count, "Stream"),
                Endpoint("GET", "/finish", finish, "Finish"),
                Endpoint("GET", "/deaf", _deaf, "Stream"),
            ],
            ready=lambda: not jobs.draining,
        )
        loops = [_crash] if "crash" in wishes else []
        url = server.url_of(socket)
        drain = _drain(jobs, _number(wishes, "draining"))
        served = [server.Served(app, socket, url, loops, jobs.close, drain)]
        if "two" in wishes:
            other = server.listen("127.0.0.1", 0)
            served.append(server.Served(app, other, server.url_of(other)))
        await server.serve(*served)
        group.cancel_scope.cancel()
    sys.stderr.write("everything closed\n")


if __name__ == "__main__":
    log.setup("small")
    try:
        server.run(lambda: _main(sys.argv[1:]))
    except RbeeError as exc:
        sys.exit(f"{exc.code}: {exc.message}")
