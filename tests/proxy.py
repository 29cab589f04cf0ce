"""A TCP proxy that breaks what passes through it: late, cut, half-closed, stalled. Needs no root.

It runs in a thread of its own. A `Fault` comes by itself after so many bytes; the methods do the
same to all connections at once, whenever a test says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

LIMIT_S = 10.0
CHUNK = 65_536
IN_FLIGHT = 1_024
"""Chunks that a slow link holds."""
Kind = Literal["cut", "half-close", "stall"]
Towards = Literal["client", "server"]
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Fault:
    """What happens once `after` bytes went `towards` one side; to the first `times` connections."""

    kind: Kind
    after: int
    towards: Towards = "client"
    times: int = 1


class Proxy:
    """Listens on a free port and passes on to one address."""

    def __init__(self, target: str, delay_s: float, fault: Fault | None) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self._delay_s = delay_s
        self._fault = fault
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._dialling: set[asyncio.Task[Ends]] = set()
        """Never cancelled: asyncio forgets what it has opened by then."""
        self.url = ""
        self.connections = 0
        """Ever made."""
        self.faults = 0
        """Faults that came by themselves."""

    def __repr__(self) -> str:
        return f"<Proxy {self.url} to {self._target}, {len(self._links)} open>"

    # Told by a test, whose thread is another one

    def cut(self) -> None:
        """Reset every connection on both sides."""
        self._tell(lambda link: link.cut())

    def half_close(self, towards: Towards) -> None:
        """End the bytes that go towards one side, and leave the others."""
        self._tell(lambda link: link.way(towards).half_close())

    def stall(self, towards: Towards) -> None:
        """Pass nothing on towards one side; what comes is left where it is."""
        self._tell(lambda link: link.way(towards).open.clear())

    def resume(self) -> None:
        """End every stall."""
        self._tell(lambda link: link.resume())

    def _tell(self, what: _Told) -> None:
        async def tell() -> None:
            for link in list(self._links):
                what(link)

        asyncio.run_coroutine_threadsafe(tell(), self._loop).result(LIMIT_S)

    # Inside the thread

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._open())
        ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._close())
        self._loop.close()

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()} - self._dialling
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError):  # the proxy ends, and all with it
            await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        fault = self._fault if self._fault and self.connections <= self._fault.times else None
        async with self._dialled(writer) as far:
            if far is None:
                return
            link = _Link(self, (reader, writer), far, self._delay_s, fault)
            self._links.add(link)
            try:
                await link.run()
            finally:
                self._links.discard(link)

    @asynccontextmanager
    async def _dialled(self, near: asyncio.StreamWriter) -> AsyncIterator[Ends | None]:
        """The connection to the server; nobody there resets the client. Both are closed after."""
        dialling = asyncio.ensure_future(asyncio.open_connection(*self._target))
        self._dialling.add(dialling)
        try:
            yield await asyncio.shield(dialling)
        except OSError:
            _reset(near)
            yield None
        finally:
            writers = [near]
            with contextlib.suppress(OSError):
                writers.append((await dialling)[1])
            self._dialling.discard(dialling)
            for writer in writers:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()


class _Link:
    """One connection through the proxy."""

    def __init__(
        self, proxy: Proxy, near: Ends, far: Ends, delay_s: float, fault: Fault | None
    ) -> None:
        self.proxy = proxy
        self._writers = (near[1], far[1])
        self._ways: dict[Towards, _Way] = {
            "client": _Way(self, far[0], near[1], delay_s, _only(fault, "client")),
            "server": _Way(self, near[0], far[1], delay_s, _only(fault, "server")),
        }

    def way(self, towards: Towards) -> _Way:
        return self._ways[towards]

    def resume(self) -> None:
        for way in self._ways.values():
            way.open.set()

    def cut(self) -> None:
        for writer in self._writers:
            _reset(writer)

    async def run(self) -> None:
        with contextlib.suppress(OSError):
            await asyncio.gather(*(way.run() for way in self._ways.values()))


_Told = Callable[[_Link], object]


def _only(fault: Fault | None, towards: Towards) -> Fault | None:
    return fault if fault is not None and fault.towards == towards else None


class _Way:
    """One direction: what is read now is written `delay_s` later."""

    def __init__(
        self,
        link: _Link,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        delay_s: float,
        fault: Fault | None,
    ) -> None:
        self._link = link
        self._reader = reader
        self._writer = writer
        self._delay_s = delay_s
        self._fault = fault
        self._flight: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(IN_FLIGHT)
        self._passed = 0
        self._ended = False
        self.open = asyncio.Event()
        self.open.set()

    async def run(self) -> None:
        await asyncio.gather(self._read(), self._write())

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        while chunk := await self._reader.read(CHUNK):
            await self._flight.put((loop.time() + self._delay_s, chunk))
            await self.open.wait()
        await self._flight.put((loop.time() + self._delay_s, b""))

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._ended:
            due, chunk = await self._flight.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            await self.open.wait()
            if not chunk:
                self.half_close()
                return
            await self._pass_on(chunk)

    async def _pass_on(self, chunk: bytes) -> None:
        fault = self._fault
        if fault is None or self._passed + len(chunk) < fault.after:
            await self._put(chunk)
            return
        before = fault.after - self._passed
        await self._put(chunk[:before])
        self._fault = None
        self._link.proxy.faults += 1
        match fault.kind:
            case "cut":
                self._link.cut()
            case "half-close":
                self.half_close()
            case "stall":
                self.open.clear()
                await self.open.wait()
                await self._put(chunk[before:])

    async def _put(self, chunk: bytes) -> None:
        if chunk and not self._ended:
            self._passed += len(chunk)
            self._writer.write(chunk)
            await self._writer.drain()

    def half_close(self) -> None:
        self._ended = True
        if self._writer.can_write_eof() and not self._writer.is_closing():
            self._writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of a farewell."""
    made = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def proxied(target: str, *, delay_s: float = 0.0, fault: Fault | None = None) -> Iterator[Proxy]:
    """A proxy in front of the server at `target`, until the context is left."""
    proxy = Proxy(target, delay_s, fault)
    ready = threading.Event()
    thread = threading.Thread(target=proxy._run, args=(ready,), name="proxy")
    thread.start()
    try:
        assert ready.wait(LIMIT_S)
        yield proxy
    finally:
        proxy._loop.call_soon_threadsafe(proxy._loop.stop)
        thread.join(LIMIT_S)
        assert not thread.is_alive()
