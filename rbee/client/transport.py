"""Blocking HTTP with deadlines, on the standard library: it must be quick to import.

One connection for each request. Connecting has a deadline, and so has every silence: servers send
a comment every ten seconds, so one that says nothing for thirty is gone.

What fails on its way is raised as `ServerGone` (no connection: nothing was sent), `Upstream` (it
broke) or `Late` (silence); what a server answers, as the error that it says.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit

from rbee.errors import Late, RbeeError, ServerGone, Upstream, Usage
from rbee.wire import codec
from rbee.wire.problems import from_reply

CONNECT_S = 5.0
SILENCE_S = 30.0
MAX_ANSWER_BYTES = 256 * 1024 * 1024
MUTE = "something else may be listening there"


def call(
    method: str,
    url: str,
    body: Any = None,
    *,
    silence_s: float = SILENCE_S,
    connect_s: float = CONNECT_S,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """One request and its whole answer."""
    with Exchange(method, url, body, headers or {}, silence_s, connect_s) as exchange:
        if refusal := exchange.begin():
            raise refusal
        return exchange.whole()


class Exchange:
    """One request on its own connection."""

    def __init__(
        self,
        method: str,
        url: str,
        body: Any,
        headers: Mapping[str, str],
        silence_s: float,
        connect_s: float = CONNECT_S,
    ) -> None:
        self.url = url
        self.response: http.client.HTTPResponse | None = None
        self._method = method
        self._body = None if body is None else codec.encode(body)
        media = {} if body is None else {"Content-Type": "application/json"}
        self._headers = {**media, **headers}
        self._silence_s = silence_s
        self._connect_s = connect_s
        self._connection, self._path = _opened(url, connect_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.response is not None:
            self.response.close()  # a connection that shall not be kept no longer knows it
        self._connection.close()

    def begin(self, head_s: float | None = None) -> RbeeError | None:
        """Send the request and read the head of the answer, which may take `head_s` where that is
        not a silence like any other. Returns the error that was answered."""
        sock = self._connect()
        sock.settimeout(head_s or self._silence_s)
        try:
            self._connection.request(self._method, self._path, self._body, self._headers)
            self.response = self._connection.getresponse()
        except TimeoutError as exc:
            raise self._mute(head_s or self._silence_s) from exc
        except (OSError, http.client.HTTPException) as exc:
            raise self._broken(exc) from exc
        sock.settimeout(self._silence_s)
        if self.response.status >= 400:
            return from_reply(self.response.status, self.whole(), self.url)
        return None

    def _connect(self) -> socket.socket:
        server = self.url.removesuffix(self._path)
        try:
            self._connection.connect()
        except TimeoutError as exc:
            raise _gone(f"{server} does not answer within {self._connect_s:.0f} s.") from exc
        except UnicodeError as exc:
            raise Usage(f"{server!r} is no address: no host has such a name.") from exc
        except OSError as exc:
            raise _gone(f"Nothing answers at {server}: {exc.strerror or exc}.") from exc
        return self._connection.sock

    def header(self, name: str) -> str:
        """A header of the answer; empty when it has none of that name."""
        return self.response.headers.get(name, "") if self.response is not None else ""

    def whole(self) -> bytes:
        assert self.response is not None
        try:
            body = self.response.read(MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as exc:
            raise self._broken(exc) from exc
        if len(body) > MAX_ANSWER_BYTES:
            raise Upstream(f"{self.url} answered more than {MAX_ANSWER_BYTES} bytes.")
        return body

    def some(self) -> bytes:
        """What has arrived, at least one byte; nothing at the end."""
        assert self.response is not None
        try:
            return self.response.read1(65_536)
        except (OSError, http.client.HTTPException) as exc:
            raise self._broken(exc) from exc

    def _broken(self, exc: Exception) -> RbeeError:
        if isinstance(exc, TimeoutError):
            return self._mute(self._silence_s, "")
        return Upstream(f"The connection to {self.url} broke: {type(exc).__name__} {exc}.")

    def _mute(self, limit_s: float, hint: str = MUTE) -> Late:
        return Late(f"{self.url} said nothing for {limit_s:.0f} s.", hint=hint)


def _gone(message: str) -> ServerGone:
    return ServerGone(message, hint="rbee up starts the local ones; --queen and --hive name others")


def _opened(url: str, connect_s: float) -> tuple[http.client.HTTPConnection, str]:
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
    return kind(host, port, timeout=connect_s), path
