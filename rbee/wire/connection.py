"""The connection behind a stream: whether its reader takes anything, and its end.

ASGI tells only of sends that are over, and a send is over when its bytes lie in a buffer. A reader
that stops, or whose machine was switched off, would be noticed when all buffers are full, one that
takes a little now and then would be taken for one that takes nothing. So the system is asked how
many bytes have arrived. Where it cannot tell (not Linux), sends that are over must do.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys

from starlette.types import Send

UNSENT_BYTES = 16 * 1024
"""What the system may hold beyond what is on its way: it takes megabytes else, and a reader that
reads nothing seems to keep up for thousands of tokens."""
_NOTSENT_LOWAT = 25
_ESTABLISHED = 1
_STATE, _UNACKED, _ACKED, _NOTSENT = 0, 24, 120, 144
"""Where they stand in Linux' `struct tcp_info`."""
_INFO_BYTES = 148


class Connection:
    """Asked now and then, by one stream."""

    def __init__(self, send: Send) -> None:
        cycle = getattr(send, "__self__", None)  # uvicorn's: it has no other name for it
        self._transport: asyncio.Transport | None = getattr(cycle, "transport", None)
        self._socket: socket.socket | None = None
        if self._transport is not None and sys.platform == "linux":
            self._socket = self._transport.get_extra_info("socket")
        if self._socket is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, UNSENT_BYTES)
        self._arrived = -1
        """Bytes, when this was last asked."""

    def stands(self, *, otherwise: bool) -> bool:
        """Whether something is on its way and nothing has arrived since this was last asked;
        `otherwise` where the system cannot tell."""
        info = self._info()
        if info is None or self._transport is None:
            return otherwise
        (arrived,) = struct.unpack_from("=Q", info, _ACKED)
        (unacked,) = struct.unpack_from("=I", info, _UNACKED)
        (unsent,) = struct.unpack_from("=I", info, _NOTSENT)
        before, self._arrived = self._arrived, arrived
        owed = unacked or unsent or self._transport.get_write_buffer_size()
        return bool(owed) and arrived == before

    @property
    def ending(self) -> bool:
        """Whether it is closed, as far as the server has heard: what is sent goes nowhere."""
        return self._transport is not None and self._transport.is_closing()

    def closed(self) -> bool:
        """Whether the reader has closed his side, or all. The server itself does not hear of it
        while its buffer is full, or while another request of the same reader waits."""
        if self.ending:
            return True
        info = self._info()
        return info is not None and info[_STATE] != _ESTABLISHED

    def abort(self) -> None:
        """End it at once, whatever lies in buffers, where that is in our hands."""
        if self._transport is not None:
            self._transport.abort()

    def _info(self) -> bytes | None:
        """What Linux knows of it."""
        if self._socket is None or self._transport is None or self._transport.is_closing():
            return None
        if sys.platform != "linux":
            return None
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
        return info if len(info) == _INFO_BYTES else None
