"""A reader on a bare socket, which takes what it is told to take and no more: the kernel's buffers
are as small as they get, so that whoever writes to it notices soon."""

from __future__ import annotations

import http.client
import socket
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import anyio.to_thread

from rbee.errors import Upstream
from rbee.wire import codec
from rbee.wire.jobroutes import JOB_HEADER

LIMIT_S = 20.0
SMALLEST = 4_096


class Reader:
    """One streamed `infer`, read by hand. Leaving it closes the connection."""

    def __init__(self, queen: str, body: dict[str, Any], *, waits: bool = True) -> None:
        parts = urlsplit(queen)
        self._address = (parts.hostname or "", parts.port or 80)
        self._body = body
        self._waits = waits
        """Until the answer begins; only then is its job known."""
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALLEST)
        self._socket.settimeout(LIMIT_S)
        self.job_id = ""

    def __repr__(self) -> str:
        return f"<Reader of {self.job_id}>"

    async def __aenter__(self) -> Self:
        await anyio.to_thread.run_sync(self._open)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Idempotent, and what was not read is thrown away: the other side gets a reset."""
        with suppress(OSError):
            self._socket.close()

    def _open(self) -> None:
        data = codec.encode({"operation": "infer", "stream": True, **self._body})
        host, port = self._address
        try:
            self._socket.connect(self._address)
            self._socket.sendall(
                b"POST /v1/jobs HTTP/1.1\r\nHost: %b:%d\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (host.encode(), port, len(data), data)
            )
            if self._waits:
                self.job_id = self._head().get(JOB_HEADER, "")
        except OSError as exc:
            raise Upstream(f"A reader could not ask {host}:{port}: {exc}.") from exc
        if self._waits and not self.job_id:
            raise Upstream("An answer came without its job's id: it was refused.")

    def _head(self) -> http.client.HTTPMessage:
        """The head of the answer, a byte at a time: not one byte more is taken."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self._socket.recv(1)
            if not byte:
                raise Upstream("The connection was closed before it was answered.")
            head += byte
        lines = head.partition(b"\r\n")[2].split(b"\r\n")
        message = http.client.HTTPMessage()
        for line in lines:
            name, _, value = line.partition(b":")
            if name:
                message[name.decode("latin-1")] = value.strip().decode("latin-1")
        return message

    async def take(self, size: int) -> int:
        """Read up to that many bytes, which must come; fewer mean that the answer is over."""
        return await anyio.to_thread.run_sync(self._take, size, abandon_on_cancel=True)

    def _take(self, size: int) -> int:
        taken = 0
        with suppress(OSError):
            while taken < size and (chunk := self._socket.recv(min(size - taken, 65_536))):
                taken += len(chunk)
        return taken
