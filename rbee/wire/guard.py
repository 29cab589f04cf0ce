"""What every request passes before any route sees it. Pure ASGI, so that it costs microseconds.

1. Host: a name this server is not known by is a 403 on every bind. A page that rebinds its own
   name to 127.0.0.1 (DNS rebinding) sends that name here.
2. Origin: a browser page of another origin must not write.
3. Bodies are JSON and bounded; a refused one is read to its end (within a bound) before the
   answer, since a client that is still sending does not read it, and a connection closed with
   bytes unread is reset. A client that falls silent within its body counts as gone.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

import anyio
import psutil
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rbee.errors import Forbidden, HeadersTooLarge, RbeeError, TooLarge, WrongMedia
from rbee.wire.replies import error_reply

MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_HEADER_BYTES = 64 * 1024
DRAIN_BYTES = 64 * 1024 * 1024
DRAIN_S = 10.0
SILENCE_S = 30.0
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def is_loopback(bind: str) -> bool:
    """Whether only this machine can reach `bind`. A name other than localhost could mean any
    address, whatever it looks like (127.example.org)."""
    try:
        return bind in LOOPBACK or ipaddress.ip_address(bind).is_loopback
    except ValueError:
        return False


def known_hosts(bind: str, extra: Iterable[str] = ()) -> frozenset[str]:
    """The names a server bound to `bind` answers to; `extra` comes from the configuration."""
    names = set(LOOPBACK) | {bind.lower()} | {e.lower() for e in extra}
    if not is_loopback(bind):
        host = socket.gethostname().lower()
        names |= {host, f"{host.partition('.')[0]}.local"}
        for addresses in psutil.net_if_addrs().values():
            names |= {a.address.partition("%")[0].lower() for a in addresses}
    return frozenset(names)


def host_of(header: str) -> str:
    """The name in a `Host` header, without port and brackets, in lower case."""
    header = header.strip().lower()
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0] if header.count(":") == 1 else header


def _address_in(origin: bytes) -> str:
    """Host and port of an `Origin` header; empty for `null` and for what is no URL."""
    try:
        return urlsplit(origin.decode("latin-1")).netloc.lower()
    except ValueError:
        return ""


def _check_size(headers: Iterable[tuple[bytes, bytes]]) -> None:
    if sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
        raise HeadersTooLarge(f"The headers are larger than {MAX_HEADER_BYTES} bytes.")


DIRECT = "rbee.send"
"""In a request's scope: the server's own `send`, without what the framework wraps around it to see
whether an answer has begun. For the body of a stream, once a token."""


class Guard:
    """Refuses before routing; `hosts` from `known_hosts`."""

    def __init__(
        self,
        app: ASGIApp,
        hosts: frozenset[str],
        max_body_bytes: int = MAX_BODY_BYTES,
        wider: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """`wider`: paths whose bodies may be larger by so many bytes."""
        self._app = app
        self._hosts = hosts
        self._max = max_body_bytes
        self._wider = wider

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        try:
            _check_size(scope["headers"])
            self._check_names(scope["method"], headers)
            limit = self._max + self._wider.get(scope["path"], 0)
            _check_body(scope["method"], headers, limit)
        except RbeeError as exc:
            await _drain(receive)
            await error_reply(exc)(scope, receive, send)
        else:
            scope[DIRECT] = send
            await self._app(scope, _counted(receive, limit), send)

    def _check_names(self, method: str, headers: dict[bytes, bytes]) -> None:
        host = headers.get(b"host", b"").decode("latin-1")
        if host_of(host) not in self._hosts:
            raise Forbidden(
                f"This server is not known as {host[:80]!r}.",
                hint="use its address, or add the name to allowed_hosts in its configuration",
            )
        origin = headers.get(b"origin")
        if origin is None or method not in _WRITES:
            return
        if _address_in(origin) != host.strip().lower():
            raise Forbidden(f"A page of {origin[:80].decode('latin-1')!r} may not write here.")


def _check_body(method: str, headers: dict[bytes, bytes], limit: int) -> None:
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    if method not in _WRITES or (length in (b"", b"0") and b"transfer-encoding" not in headers):
        return
    media = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media != b"application/json":
        raise WrongMedia(
            f"The body is declared as {media[:60].decode('latin-1')!r}, not as JSON.",
            hint="send the header content-type: application/json",
        )


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit} bytes.")


def _counted(receive: Receive, limit: int) -> Receive:
    seen, more = 0, True

    async def counted() -> Message:
        nonlocal seen, more
        message: Message = {"type": "http.disconnect"}
        with anyio.move_on_after(SILENCE_S if more else None):
            message = await receive()
        more = bool(message.get("more_body"))
        seen += len(message.get("body", b""))
        if seen > limit:
            if more:
                await _drain(receive)
            raise _too_large(limit)
        return message

    return counted


async def _drain(receive: Receive) -> None:
    """Read the rest of a body that nobody wants, within bounds."""
    seen = 0
    with anyio.move_on_after(DRAIN_S):
        while seen < DRAIN_BYTES:
            message = await receive()
            seen += len(message.get("body", b""))
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                return
