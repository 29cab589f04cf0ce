"""A server with nothing of rbee's roles, as a process: `python -m tests.wire.small [WISH ...]`.

Wishes: `crash` (a loop that crashes once the server is ready), `stubborn` (a stream that nothing
ends), `two` (a second server in the same process), `port=N`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import anyio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from rbee.contracts.answers import Deleted
from rbee.contracts.events import Token
from rbee.errors import RbeeError
from rbee.wire import server
from rbee.wire.jobroutes import streamed
from rbee.wire.jobs import Job, Jobs
from rbee.wire.openapi import Endpoint
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


async def _main(wishes: list[str]) -> None:
    port = next((int(w.partition("=")[2]) for w in wishes if w.startswith("port=")), 0)
    socket = server.listen("127.0.0.1", port)
    async with anyio.create_task_group() as group:
        jobs = Jobs(group)

        async def stream(request: Request) -> Response:
            return await streamed(jobs, jobs.start("do", _endless), request, as_events)

        app = application_of(
            [Endpoint("GET", "/s", stream, "Stream"), Endpoint("GET", "/deaf", _deaf, "Stream")]
        )
        loops = [_crash] if "crash" in wishes else []
        url = server.url_of(socket)
        served = [server.Served(app, socket, url, loops, jobs.close)]
        if "two" in wishes:
            other = server.listen("127.0.0.1", 0)
            served.append(server.Served(app, other, server.url_of(other)))
        await server.serve(*served)
        group.cancel_scope.cancel()
    sys.stderr.write("everything closed\n")


if __name__ == "__main__":
    try:
        server.run(lambda: _main(sys.argv[1:]))
    except RbeeError as exc:
        sys.exit(f"{exc.code}: {exc.message}")
