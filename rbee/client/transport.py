"""Blocking HTTP with deadlines, on the standard library: it must be quick to import.

One connection for each request. Connecting has a deadline, and so has every silence: servers send
a comment every ten seconds, so one that says nothing for thirty is gone.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from rbee.contracts.events import AnyEvent, Done, Failed
from rbee.errors import Late, RbeeError, ServerGone, Upstream, Usage
from rbee.wire import codec, sse
from rbee.wire.problems import from_reply

CONNECT_S = 5.0
SILENCE_S = 30.0
MAX_ANSWER_BYTES = 256 * 1024 * 1024
MUTE = "something else may be listening there"
JOB_HEADER = "X-Rbee-Job-Id"


def call(
    method: str,
    url: str,
    body: Any = None,
    *,
    silence_s: float = SILENCE_S,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """One request and its whole answer. Raises the error that the server answered, `ServerGone`
    when nothing answers, `Late` past the silence, `Upstream` when the answer breaks off."""
    with _Exchange(method, url, body, silence_s, headers or {}) as exchange:
        return exchange.whole()


class Events:
    """A stream of events; iterate over it once, and leave it to close the connection.

    Ends after `done` or `failed`; raises `Upstream` when the stream ends without either.
    """

    def __init__(self, exchange: _Exchange, first: int) -> None:
        self._exchange = exchange
        self._reader = sse.FrameReader()
        self.job_id = exchange.response.headers.get(JOB_HEADER, "")
        self.cursor = first
        """The number of the next event: where to resume."""

    def __repr__(self) -> str:
        return f"<Events of {self.job_id}, next is {self.cursor}>"

    def raw(self) -> Iterator[bytes]:
        """The events as the server wrote them."""
        try:
            while chunk := self._exchange.some():
                for data in self._reader.feed(chunk):
                    if data == b"[DONE]":
                        return
                    self.cursor += 1
                    yield data
        except ValueError as exc:
            raise Upstream(f"{self._exchange.url} sent {exc}.") from exc

    def __iter__(self) -> Iterator[AnyEvent]:
        for data in self.raw():
            event: AnyEvent = codec.decode(data, AnyEvent)
            yield event
            if isinstance(event, Done | Failed):
                return
        raise Upstream(f"The answer from {self._exchange.url} broke off.")

    def close(self) -> None:
        """Leave: a job that nobody else reads is cancelled by the server."""
        self._exchange.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def events(
    method: str,
    url: str,
    body: Any = None,
    *,
    first: int = 0,
    silence_s: float = SILENCE_S,
    headers: Mapping[str, str] | None = None,
) -> Events:
    """Begin a request that is answered by events; `first` is the number of the first one."""
    accept = {"Accept": "text/event-stream", **(headers or {})}
    return Events(_Exchange(method, url, body, silence_s, accept).__enter__(), first)


class _Exchange:
    """One request on its own connection."""

    def __init__(
        self, method: str, url: str, body: Any, silence_s: float, headers: Mapping[str, str]
    ) -> None:
        self.url = url
        self.response: http.client.HTTPResponse
        self._method = method
        self._body = None if body is None else codec.encode(body)
        media = {} if body is None else {"Content-Type": "application/json"}
        self._headers = {**media, **headers}
        self._silence_s = silence_s
        self._connection, self._path = _opened(url)

    def __enter__(self) -> Self:
        """Send the request and read the head of the answer; an error answer is raised."""
        try:
            self._connect()
            self._begin()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def _connect(self) -> None:
        server = self.url.removesuffix(self._path)
        try:
            self._connection.connect()
        except TimeoutError as exc:
            raise _gone(f"{server} does not answer within {CONNECT_S:.0f} s.") from exc
        except UnicodeError as exc:
            raise Usage(f"{server!r} is no address: no host has such a name.") from exc
        except OSError as exc:
            raise _gone(f"Nothing answers at {server}: {exc.strerror or exc}.") from exc
        self._connection.sock.settimeout(self._silence_s)

    def _begin(self) -> None:
        try:
            self._connection.request(self._method, self._path, self._body, self._headers)
            self.response = self._connection.getresponse()
        except TimeoutError as exc:
            raise self._mute() from exc
        except (OSError, http.client.HTTPException) as exc:
            raise self._broken(exc) from exc
        if self.response.status >= 400:
            raise from_reply(self.response.status, self.whole(), self.url)

    def whole(self) -> bytes:
        try:
            body = self.response.read(MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as exc:
            raise self._broken(exc) from exc
        if len(body) > MAX_ANSWER_BYTES:
            raise Upstream(f"{self.url} answered more than {MAX_ANSWER_BYTES} bytes.")
        return body

    def some(self) -> bytes:
        """What has arrived, at least one byte; nothing at the end."""
        try:
            return self.response.read1(65_536)
        except (OSError, http.client.HTTPException) as exc:
            raise self._broken(exc) from exc

    def _broken(self, exc: Exception) -> RbeeError:
        if isinstance(exc, TimeoutError):
            return self._mute("")
        return Upstream(f"The connection to {self.url} broke: {type(exc).__name__} {exc}.")

    def _mute(self, hint: str = MUTE) -> Late:
        return Late(f"{self.url} said nothing for {self._silence_s:.0f} s.", hint=hint)


def _gone(message: str) -> ServerGone:
    return ServerGone(message, hint="rbee up starts the local ones; --queen and --hive name others")


def _opened(url: str) -> tuple[http.client.HTTPConnection, str]:
    """A connection (not yet made) to the server of `url`, and the path on it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise Usage(f"{url!r} is no address: {exc}.") from exc
    if parts.scheme not in ("http", "https") or not host:
        raise Usage(f"{url!r} is no address.", hint="one looks like http://127.0.0.1:7833")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return kind(host, port, timeout=CONNECT_S), path
