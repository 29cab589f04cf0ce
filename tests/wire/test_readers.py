"""Readers that are slow, stop, or vanish, through real sockets: nobody else pays, nothing grows."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import anyio
import pytest
from starlette.requests import Request
from starlette.responses import Response

from rbee.contracts.events import AnyEvent, Done, Token
from rbee.wire import codec, eventlog, sse, stream
from rbee.wire.eventlog import PAUSE_EVENTS, EventLog
from rbee.wire.openapi import Endpoint
from rbee.wire.stream import EventStream, as_events
from tests.wire.harness import LIMIT_S, application_of, port_of, serving, until

pytestmark = pytest.mark.anyio
GET = b"GET /s HTTP/1.1\r\nHost: localhost\r\n\r\n"
DONE = Done(finish_reason="stop")
MANY = 50_000
SMALL = 8 * 1024
"""A reader's buffer: what it does not read is felt at once."""


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Both loops have buffers of their own."""
    return "asyncio", {"use_uvloop": request.param}


def token(number: int) -> Token:
    return Token(index=number, text="word ", token_ids=[number])


class Desk:
    """One log behind one address, and what became of its streams."""

    def __init__(self, ring: int = eventlog.RING_EVENTS) -> None:
        self.log = EventLog(ring)
        self.opened = 0
        self.closed = 0
        self.made_bytes = 0
        self.lags: list[bool] = []
        self.log.on_lag = self.lags.append

    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("GET", "/s", self._handle, "A stream")]

    async def _handle(self, request: Request) -> Response:
        self.opened += 1
        return EventStream(self.log, translate=self._counted, on_close=self._on_close)

    def _counted(self, number: int, events: Sequence[AnyEvent]) -> bytes:
        made = as_events(number, events)
        self.made_bytes += len(made)
        return made

    def _on_close(self) -> None:
        self.closed += 1

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        async with serving(application_of(self.endpoints())) as url:
            try:
                yield port_of(url)
            finally:
                self.log.append(DONE)

    async def write(self, count: int) -> None:
        """As a model would: nobody waits for the readers."""
        for _ in range(count):
            self.log.append(token(self.log.total))
            if self.log.total % 100 == 0:
                await anyio.lowlevel.checkpoint()

    async def write_to_readers(self, count: int) -> None:
        """As one that pauses would."""
        for _ in range(count):
            await self.log.caught_up()
            self.log.append(token(self.log.total))
            if self.log.total % 100 == 0:
                await anyio.lowlevel.checkpoint()
        self.log.append(DONE)


class Peer:
    """A client whose machine buffers little, and which reads nothing unasked."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        self._socket.setblocking(False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *why: object) -> None:
        self._socket.close()

    async def ask(self, port: int, request: bytes = GET) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._socket, ("127.0.0.1", port))
        await loop.sock_sendall(self._socket, request)

    async def receive(self, size: int = 65_536) -> bytes:
        """Empty at the end, also at a rude one."""
        with anyio.fail_after(LIMIT_S):
            try:
                return await asyncio.get_running_loop().sock_recv(self._socket, size)
            except ConnectionError:
                return b""

    async def until(self, mark: bytes) -> bytes:
        got = b""
        while mark not in got[-65_700:]:
            got += (more := await self.receive())
            assert more, f"ended before {mark!r}"
        return got

    async def numbers(self) -> list[int]:
        """The numbers of all tokens, to the end of the stream."""
        raw = (await self.until(b"[DONE]")).partition(b"\r\n\r\n")[2]
        found = []
        for data in sse.FrameReader().feed(_unchunked(raw)):
            if b'"token"' in data:
                event: AnyEvent = codec.decode(data, AnyEvent)
                assert isinstance(event, Token)
                found.append(event.index)
        return found

    async def drain(self) -> bytes:
        """What comes until the connection ends."""
        got = b""
        while more := await self.receive():
            got += more
        return got

    def close_half(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def leave(self, *, rude: bool = False) -> None:
        """`rude`: with a reset, as from a machine that was switched off and on again."""
        if rude:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


@asynccontextmanager
async def reader(desk: Desk, request: bytes = GET) -> AsyncIterator[Peer]:
    """A served log with one reader."""
    async with desk.serving() as port, Peer() as peer:
        await peer.ask(port, request)
        yield peer


def _unchunked(raw: bytes) -> bytes:
    found, at = b"", 0
    while at < len(raw):
        end = raw.index(b"\r\n", at)
        size = int(raw[at:end], 16)
        found += raw[end + 2 : end + 2 + size]
        at = end + 4 + size
    return found


@pytest.mark.parametrize("rude", [False, True], ids=["closed", "reset"])
async def test_what_nobody_reads_stays_in_the_log(rude: bool) -> None:
    """The writer hears of it soon, and it costs a buffer, not 50,000 tokens."""
    desk = Desk()
    async with reader(desk) as peer:
        await until(lambda: desk.opened == 1)
        heard_at: list[int] = []
        desk.log.on_lag = lambda lagging: heard_at.append(desk.log.total)
        await desk.write(MANY)
        assert desk.log.lagging and desk.made_bytes < 200_000
        assert len(heard_at) == 1 and heard_at[0] < PAUSE_EVENTS + 2_500
        peer.leave(rude=rude)
        await until(lambda: desk.closed == 1)
        assert not desk.log.lagging, "nobody is left to wait for"
        assert len(heard_at) == 2


async def test_a_writer_that_pauses_is_read_to_the_end() -> None:
    """Though the ring is small and the reader late."""
    desk = Desk(ring=2 * PAUSE_EVENTS)
    found: list[int] = []
    async with reader(desk) as peer:
        await until(lambda: desk.opened == 1)
        async with anyio.create_task_group() as group:
            group.start_soon(desk.write_to_readers, 20_000)
            await until(lambda: desk.log.lagging)
            assert desk.log.total < 5_000
            found += await peer.numbers()
    assert found == list(range(20_000))
    assert desk.lags == [n % 2 == 0 for n in range(len(desk.lags))] and not desk.log.lagging


async def test_a_slow_reader_takes_nothing_from_a_fast_one() -> None:
    desk = Desk()
    found: list[int] = []

    async def read(peer: Peer) -> None:
        found.extend(await peer.numbers())

    async with desk.serving() as port, Peer() as slow, Peer() as fast:
        await slow.ask(port)
        await fast.ask(port)
        await until(lambda: desk.opened == 2)
        async with anyio.create_task_group() as group:
            group.start_soon(read, fast)
            await desk.write(10_000)
            assert desk.log.lagging
            desk.log.append(DONE)
    assert found == list(range(10_000))


async def test_a_reader_ever_further_behind_is_told() -> None:
    desk = Desk(ring=3_000)
    async with reader(desk) as peer:
        await until(lambda: desk.opened == 1)
        await desk.write(10_000)
        assert b'"code":"events_gone"' in await peer.until(b"[DONE]")
        await until(lambda: desk.closed == 1)


async def test_a_reader_that_takes_a_little_now_and_then_is_not_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No send is over for much longer than the limit: what counts is that bytes arrive."""
    monkeypatch.setattr(stream, "SEND_DEADLINE_S", 0.9)
    desk = Desk()
    async with reader(desk) as peer:
        await until(lambda: desk.opened == 1)
        await desk.write(5_000)
        await until(lambda: desk.log.lagging)
        made = desk.made_bytes
        with anyio.move_on_after(2.0):
            while True:
                assert await peer.receive(2_000)
                await anyio.sleep(0.1)
        assert desk.closed == 0 and desk.made_bytes == made, "no send was over, nobody was cut"
        await until(lambda: desk.closed == 1)  # it takes nothing any more
        assert b"[DONE]" not in await peer.drain(), "and the connection is gone, not only left"


@pytest.mark.parametrize("count", [0, 3, 5_000], ids=["silent", "few", "flooded"])
async def test_a_reader_that_closes_its_sending_half_counts_as_gone(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the server's buffer for it is full, so that it cannot close in peace."""
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.1)
    desk = Desk()
    async with reader(desk) as peer:
        await until(lambda: desk.opened == 1)
        await desk.write(count)
        peer.close_half()
        await until(lambda: desk.closed == 1)
        assert b"[DONE]" not in await peer.drain()


async def test_half_closed_together_with_the_request() -> None:
    """`nc -N`"""
    desk = Desk()
    async with reader(desk) as peer:
        peer.close_half()
        await peer.drain()
        await until(lambda: desk.closed == desk.opened)


@pytest.mark.parametrize("rude", [False, True], ids=["closed", "reset"])
async def test_a_reader_that_asked_twice_and_left(
    rude: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a second request waits the server reads nothing, and hears of no leaving."""
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.1)
    desk = Desk()
    async with reader(desk, GET + GET) as peer:
        await until(lambda: desk.opened == 1)
        peer.leave(rude=rude)
        await until(lambda: desk.closed == 1)


PLACES: dict[str, tuple[bytes, Callable[[Desk], bool]]] = {
    "nothing said": (b"", lambda desk: True),
    "half a request": (GET[:20], lambda desk: True),
    "before the head": (GET, lambda desk: True),
    "silence": (GET, lambda desk: desk.opened == 1),
    "after the first token": (GET, lambda desk: desk.made_bytes > 0),
    "in a flood": (GET, lambda desk: desk.log.lagging),
    "after the end": (GET, lambda desk: desk.closed == 1),
}


@pytest.mark.parametrize("rude", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("place", PLACES)
async def test_a_reader_that_leaves_anywhere(place: str, rude: bool) -> None:
    desk = Desk()
    request, there = PLACES[place]
    async with desk.serving() as port, Peer() as peer, Peer() as other:
        await peer.ask(port, request)
        if place == "after the first token":
            await desk.write(1)
        if place == "in a flood":
            await until(lambda: desk.opened == 1)
            await desk.write(5_000)
        if place == "after the end":
            desk.log.append(DONE)
        await until(lambda: there(desk))
        peer.leave(rude=rude)
        await desk.write(10)
        await until(lambda: desk.closed == desk.opened)
        desk.log.append(DONE)
        await other.ask(port)  # the server is as well as before
        await other.until(b"[DONE]")
        await until(lambda: desk.closed == desk.opened)
    assert desk.opened <= 2 and not desk.log.lagging


async def test_a_machine_that_falls_silent_is_noticed_in_a_silent_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No send waits, for what there is goes into the server's buffer; but nothing arrives."""
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.02)
    monkeypatch.setattr(stream, "SEND_DEADLINE_S", 0.3)
    desk = Desk()
    async with reader(desk):
        await until(lambda: desk.opened == 1)
        await desk.write(500)
        assert desk.made_bytes < 65_536
        await until(lambda: desk.closed == 1)
