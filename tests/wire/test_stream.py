"""A streamed answer is closed exactly once, whoever ends it and however."""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from rbee.contracts.events import AnyEvent, Done, Token
from rbee.wire import codec, sse, stream
from rbee.wire.eventlog import EventLog
from rbee.wire.openapi import Endpoint
from rbee.wire.stream import EventStream
from tests.wire.harness import application_of, port_of, read_until, serving, until

pytestmark = pytest.mark.anyio
SCOPE = {"type": "http", "method": "GET", "path": "/", "headers": []}
DONE = Done(finish_reason="stop")
LIMIT_S = 10.0


def token(number: int, text: str = "") -> Token:
    return Token(index=number, text=text, token_ids=[number])


class Client:
    """The server's side of one connection, played by hand."""

    def __init__(self, block_after: int | None = None, break_after: int | None = None) -> None:
        self.sent: list[Message] = []
        self.closed = 0
        self._leave = anyio.Event()
        self._block_after = block_after
        self._break_after = break_after

    def leave(self) -> None:
        self._leave.set()

    async def receive(self) -> Message:
        await self._leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self._break_after is not None and len(self.sent) >= self._break_after:
            raise OSError("the connection broke")
        if self._block_after is not None and len(self.sent) >= self._block_after:
            await anyio.sleep_forever()
        self.sent.append(message)

    def on_close(self) -> None:
        self.closed += 1

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.sent)

    @property
    def complete(self) -> bool:
        return bool(self.sent) and self.sent[-1].get("more_body") is False

    def events(self) -> list[bytes]:
        return list(sse.FrameReader().feed(self.body))

    async def read(self, log: EventLog, cursor: int = 0, **more: Any) -> None:
        answer = EventStream(log, cursor, on_close=self.on_close, **more)
        with anyio.fail_after(LIMIT_S):
            await answer(SCOPE, self.receive, self.send)


async def test_a_finished_log_is_sent_whole_and_numbered() -> None:
    log, client = EventLog(), Client()
    log.append(token(0), token(1), DONE)
    await client.read(log)
    events: list[AnyEvent] = [codec.decode(e, AnyEvent) for e in client.events()[:-1]]
    assert events == [token(0), token(1), DONE]
    assert client.events()[-1] == b"[DONE]"
    assert [line for line in client.body.split(b"\n") if line.startswith(b"id:")] == [
        b"id: 0",
        b"id: 1",
        b"id: 2",
    ]
    assert client.complete and client.closed == 1


@pytest.mark.parametrize("cursor", [0, 1, 3, 9])
async def test_a_prelude_comes_first_and_moves_no_number(cursor: int) -> None:
    log, client = EventLog(), Client()
    log.append(token(0), token(1), DONE)
    await client.read(log, cursor, prelude=b"data: begun\n\n")
    begun, *rest = client.events()
    assert begun == b"begun" and len(rest) == max(3 - cursor, 0) + 1
    numbers = [line for line in client.body.split(b"\n") if line.startswith(b"id:")]
    assert numbers == [b"id: %d" % n for n in range(cursor, 3)]


async def test_a_prelude_does_not_wait_for_the_first_event() -> None:
    log, client = EventLog(), Client()
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: client.read(log, prelude=b"data: begun\n\n"))
        await until(lambda: client.events() == [b"begun"])
        log.append(token(0))
        await until(lambda: len(client.events()) == 2)
        client.leave()
    assert client.closed == 1


async def test_events_arrive_while_they_are_written() -> None:
    log, client = EventLog(), Client()
    async with anyio.create_task_group() as group:
        group.start_soon(client.read, log)
        for number in range(5):
            log.append(token(number))
            await until(lambda n=number: len(client.events()) == n + 1)  # type: ignore[misc]
        log.append(DONE)
    assert len(client.events()) == 7 and client.closed == 1


async def test_a_reader_that_leaves_a_silent_stream() -> None:
    log, client = EventLog(), Client()
    async with anyio.create_task_group() as group:
        group.start_soon(client.read, log)
        await until(lambda: bool(client.sent))
        client.leave()
    assert client.closed == 1 and not client.complete


async def test_a_reader_that_left_before_the_first_byte() -> None:
    log, client = EventLog(), Client()
    client.leave()
    await client.read(log)
    assert client.closed == 1


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_connection_that_breaks_at_any_write(after: int) -> None:
    log, client = EventLog(), Client(break_after=after)
    log.append(token(0))
    async with anyio.create_task_group() as group:
        group.start_soon(client.read, log)
        await until(lambda: len(client.sent) == after)
        log.append(DONE)
    assert client.closed == 1


async def test_a_reader_that_takes_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SEND_DEADLINE_S", 0.05)
    log, client = EventLog(), Client(block_after=1)
    log.append(token(0))
    await client.read(log)
    assert client.closed == 1 and not client.complete


async def test_a_reader_that_leaves_while_it_is_being_sent_to() -> None:
    log, client = EventLog(), Client(block_after=1)
    log.append(token(0))
    async with anyio.create_task_group() as group:
        group.start_soon(client.read, log)
        await until(lambda: bool(client.sent))
        client.leave()
    assert client.closed == 1


async def test_a_server_that_cancels_the_answer() -> None:
    log, client = EventLog(), Client()
    async with anyio.create_task_group() as group:
        group.start_soon(client.read, log)
        await until(lambda: bool(client.sent))
        group.cancel_scope.cancel()
    assert client.closed == 1


async def test_a_translation_that_crashes_is_loud_and_still_closed() -> None:
    def crash(number: int, events: Any) -> bytes:
        raise LookupError("no such dialect")

    log, client = EventLog(), Client()
    log.append(DONE)
    with pytest.raises(BaseExceptionGroup) as caught:
        await client.read(log, translate=crash)
    assert caught.group_contains(LookupError)
    assert client.closed == 1


async def test_idle_streams_get_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.02)
    log, client = EventLog(), Client()
    async with anyio.create_task_group() as group:
        group.start_soon(client.read, log)
        await until(lambda: client.body.count(sse.KEEP_ALIVE) >= 3)
        log.append(DONE)
    assert len(client.events()) == 2


async def test_a_reader_that_fell_out_of_the_ring_is_told() -> None:
    log, client = EventLog(ring=4), Client()
    log.append(*(token(i) for i in range(10)))
    await client.read(log)
    first, end = client.events()
    assert b'"code":"events_gone"' in first and end == b"[DONE]"
    assert client.complete and client.closed == 1


async def test_resuming_past_the_end_of_a_finished_log() -> None:
    log, client = EventLog(), Client()
    log.append(DONE)
    await client.read(log, cursor=500)
    assert client.events() == [b"[DONE]"]


def endpoint(log: EventLog, on_close: Callable[[], None]) -> list[Endpoint]:
    async def handler(request: Request) -> Response:
        return EventStream(log, on_close=on_close)

    return [Endpoint("GET", "/s", handler, "A stream")]


GET = b"GET /s HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def leave_politely(connection: SocketStream) -> None:
    await connection.aclose()


async def leave_rudely(connection: SocketStream) -> None:
    """A reset, as from a machine that was switched off."""
    made = connection.extra(SocketAttribute.raw_socket)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await anyio.aclose_forcefully(connection)


@pytest.mark.parametrize("leave", [leave_politely, leave_rudely])
@pytest.mark.parametrize("flood", [False, True], ids=["silent", "flooded"])
async def test_a_reader_that_leaves_a_real_connection(
    leave: Callable[[SocketStream], Awaitable[None]],
    flood: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.02)
    log, client = EventLog(), Client()
    async with serving(application_of(endpoint(log, client.on_close))) as url:
        connection = await anyio.connect_tcp("127.0.0.1", port_of(url))
        await connection.send(GET)
        assert b"text/event-stream" in await read_until(connection, b"\r\n\r\n")
        if flood:  # more than any socket buffer holds: the sender waits for the reader
            log.append(*(token(i, "x" * 10_000) for i in range(2_000)))
        await leave(connection)
        await until(lambda: client.closed == 1)
        log.append(DONE)
    assert client.closed == 1


async def test_a_real_reader_that_takes_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvicorn takes one write whatever its size, so the next one, here a comment, waits."""
    monkeypatch.setattr(stream, "SEND_DEADLINE_S", 0.1)
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.05)
    log, client = EventLog(), Client()
    async with serving(application_of(endpoint(log, client.on_close))) as url:
        connection = await anyio.connect_tcp("127.0.0.1", port_of(url))
        await connection.send(GET)
        log.append(*(token(i, "x" * 10_000) for i in range(2_000)))
        await until(lambda: client.closed == 1)
        await connection.aclose()


async def test_a_real_stream_is_chunked_and_ends() -> None:
    log, client = EventLog(), Client()
    async with (
        serving(application_of(endpoint(log, client.on_close))) as url,
        await anyio.connect_tcp("127.0.0.1", port_of(url)) as connection,
    ):
        await connection.send(GET)
        log.append(token(0))
        head = await read_until(connection, b"token")
        assert b"transfer-encoding: chunked" in head.lower()
        log.append(DONE)
        assert b"[DONE]" in await read_until(connection, b"0\r\n\r\n")
        await connection.send(GET)  # the connection lives on
        assert b"[DONE]" in await read_until(connection, b"0\r\n\r\n")
    assert client.closed == 2
