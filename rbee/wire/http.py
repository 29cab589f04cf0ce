"""The asynchronous HTTP client between roles: aiohttp, with its errors translated where they enter.

Every call has a deadline; a stream has one for each silence (peers send a comment every 10 s).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp

from rbee.contracts.events import AnyEvent
from rbee.errors import Invalid, Late, NotJson, RbeeError, ServerGone, Upstream
from rbee.wire import codec, sse
from rbee.wire.replies import from_reply

T = TypeVar("T")
CONNECT_S = 5.0
SILENCE_S = 30.0
IDLE_S = 60.0
"""How long an idle connection is kept; shorter than our servers keep it."""
MAX_ANSWER_BYTES = 256 * 1024 * 1024
RECEIVE_BYTES = 128 * 1024
"""What the system may hold of an answer that we do not read on: left to itself it takes megabytes,
and a worker would write all of a long answer before it noticed that its reader has stopped."""
_JSON = {"Content-Type": "application/json"}


class Http:
    """One pool of connections. Use as an async context manager."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S, socket_factory=_socket)
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(
        self,
        method: str,
        url: str,
        answer: type[T] | Any,
        body: Any = None,
        *,
        timeout_s: float = 10.0,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """One request and its whole answer. Raises what the other side's error says, `ServerGone`
        when nothing answers, `Upstream` when the answer breaks off, `Late` past the deadline."""
        limit = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_S)
        async with self._request(method, url, body, limit, headers) as response:
            raw = await _whole(url, response)
        if response.status >= 400:
            raise from_reply(response.status, raw, url)
        found: T = _understood(url, raw, answer)
        return found

    @asynccontextmanager
    async def events(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        kind: Any = AnyEvent,
        connect_s: float = CONNECT_S,
        silence_s: float = SILENCE_S,
        headers: Mapping[str, str] | None = None,
        on_headers: Callable[[Mapping[str, str]], None] | None = None,
    ) -> AsyncIterator[AsyncIterator[list[Any]]]:
        """A stream of events of a `kind`, as many at a time as one read brought. Leaving closes it.

        `on_headers` sees the head of the answer before the first event."""
        limit = aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=silence_s)
        accept = {"Accept": "text/event-stream", **(headers or {})}
        async with self._request(method, url, body, limit, accept) as response:
            if response.status >= 400:
                raise from_reply(response.status, await _whole(url, response), url)
            if on_headers is not None:
                on_headers(response.headers)
            stream = _events(response, url, kind)
            try:
                yield stream
            finally:
                await stream.aclose()
                response.close()

    async def begin(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        head_s: float,
        silence_s: float = SILENCE_S,
        headers: Mapping[str, str] | None = None,
    ) -> Answering:
        """Send a request and wait for the head of its answer, whatever it says. What is wrong with
        it is told by what is raised: `ServerGone` (nothing was sent), `Upstream`, `Late`."""
        limit = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=silence_s)
        call = self._sent(method, url, body, limit, headers)
        return Answering(url, await _translated(url, _within(head_s, call)))

    def _sent(
        self,
        method: str,
        url: str,
        body: Any,
        limit: aiohttp.ClientTimeout,
        headers: Mapping[str, str] | None,
    ) -> Any:
        """The call to be awaited."""
        if self._session is None:
            raise RuntimeError("Http is used as an async context manager")
        data = None if body is None else codec.encode(body)
        extra = {**(_JSON if data is not None else {}), **(headers or {})}
        return self._session.request(method, url, data=data, headers=extra, timeout=limit)

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        url: str,
        body: Any,
        limit: aiohttp.ClientTimeout,
        headers: Mapping[str, str] | None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        response = await _translated(url, self._sent(method, url, body, limit, headers))
        try:
            yield response
        finally:
            response.release()


class Answering:
    """An answer whose head has come; whoever began it closes it."""

    def __init__(self, url: str, response: aiohttp.ClientResponse) -> None:
        self._url = url
        self._response = response

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    async def refusal(self) -> RbeeError | None:
        """The error that was answered, if one was."""
        if self._response.status < 400:
            return None
        raw = await _whole(self._url, self._response)
        return from_reply(self._response.status, raw, self._url)

    async def some(self) -> bytes:
        """What has arrived, at least one byte; nothing at the end."""
        found: bytes = await _translated(self._url, self._response.content.readany())
        return found

    def close(self) -> None:
        self._response.close()


async def _events(
    response: aiohttp.ClientResponse, url: str, kind: Any
) -> AsyncGenerator[list[Any], None]:
    reader = sse.FrameReader()
    while chunk := await _translated(url, response.content.readany()):
        events: list[Any] = []
        for data in _frames(url, reader, chunk):
            if data == b"[DONE]":
                if events:
                    yield events
                return
            events.append(_understood(url, data, kind))
        if events:
            yield events


def _frames(url: str, reader: sse.FrameReader, chunk: bytes) -> Iterator[bytes]:
    try:
        yield from reader.feed(chunk)
    except ValueError as exc:
        raise Upstream(f"{url} sent {exc}.") from exc


def _understood(url: str, raw: bytes, kind: type[T] | Any) -> T:
    """A peer's words as a contract type. What we cannot read is the peer's fault, never that of
    the client whose request we serve: no 400 and no 422 may come of it."""
    try:
        found: T = codec.decode(raw, kind)
        return found
    except (NotJson, Invalid) as exc:
        raise Upstream(f"{url} answered what rbee cannot read: {exc.message}") from exc


async def _whole(url: str, response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    while chunk := await _translated(url, response.content.readany()):
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise Upstream(f"{url} answered more than {MAX_ANSWER_BYTES} bytes.")
    return b"".join(parts)


def _socket(place: tuple[Any, ...]) -> socket.socket:
    """For an address as `getaddrinfo` tells it."""
    family, kind, protocol, *_ = place
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    return made


async def _within(limit_s: float, call: Awaitable[T]) -> T:
    """Like `asyncio.wait_for`, which before Python 3.12 forgets a cancellation that comes together
    with the result."""
    async with asyncio.timeout(limit_s):
        return await call


async def _translated(url: str, call: Any) -> Any:
    """Await an aiohttp call; its failures become rbee's."""
    try:
        return await call
    except aiohttp.ConnectionTimeoutError as exc:
        raise ServerGone(f"{url} does not answer: no connection in time.") from exc
    except aiohttp.ClientConnectorError as exc:
        raise ServerGone(f"Nothing answers at {url}: {exc.os_error.strerror}.") from exc
    except TimeoutError as exc:
        raise Late(f"{url} said nothing in time.") from exc
    except (aiohttp.ClientError, OSError) as exc:
        raise broken(url, exc) from exc


def broken(url: str, exc: Exception) -> RbeeError:
    return Upstream(f"The connection to {url} broke ({type(exc).__name__}).")
