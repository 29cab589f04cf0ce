"""A small real server inside the test's own loop, ended as a process would be: by a signal."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio.abc import SocketStream
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from rbee.wire import server
from rbee.wire.guard import MAX_BODY_BYTES, known_hosts
from rbee.wire.openapi import Endpoint
from rbee.wire.pages import application

LIMIT_S = 10.0


def application_of(
    endpoints: Sequence[Endpoint] = (),
    *,
    bind: str = "127.0.0.1",
    extra: Sequence[str] = (),
    max_body_bytes: int = MAX_BODY_BYTES,
    ready: Callable[[], bool] = lambda: True,
) -> ASGIApp:
    """An app as the roles have it: the endpoints behind the guard."""
    return application(
        "queen",
        "test",
        endpoints,
        hosts=known_hosts(bind, extra),
        ready=ready,
        metrics=CollectorRegistry(),
        max_body_bytes=max_body_bytes,
    )


@asynccontextmanager
async def serving(
    app: ASGIApp, stopping: Callable[[], None] = lambda: None, port: int = 0
) -> AsyncIterator[str]:
    """`app` behind a real socket; yields its URL, ends by SIGTERM when the context is left."""
    socket = server.listen("127.0.0.1", port)
    url = server.url_of(socket)
    port = socket.getsockname()[1]
    async with anyio.create_task_group() as group:
        group.start_soon(server.serve, server.Served(app, socket, url, (), stopping))
        await _answers(port)
        try:
            yield url
        finally:
            signal.raise_signal(signal.SIGTERM)


async def _answers(port: int) -> None:
    """Return when the server answers anything: its signal handler stands before it accepts."""
    head, _ = await raw(port, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 ")


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def raw(port: int, request: bytes) -> tuple[bytes, bytes]:
    """One request as bytes; returns head and body of the answer, which has a length."""
    with anyio.fail_after(LIMIT_S):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(request)
            return await read_answer(stream)


async def read_answer(stream: SocketStream) -> tuple[bytes, bytes]:
    head, _, body = (await read_until(stream, b"\r\n\r\n")).partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            while len(body) < int(value):
                body += await stream.receive()
    return head, body


async def read_until(stream: SocketStream, mark: bytes) -> bytes:
    got = b""
    with anyio.fail_after(LIMIT_S):
        while mark not in got:
            got += await stream.receive()
    return got


async def until(fact: Callable[[], bool]) -> None:
    """Wait for a fact, not for a time."""
    with anyio.fail_after(LIMIT_S):
        while not fact():  # noqa: ASYNC110 - the facts are plain attributes of what is tested
            await anyio.sleep(0.005)
