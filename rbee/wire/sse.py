"""Server-sent events, both ways (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from collections.abc import Iterator

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
MAX_FRAME_BYTES = 16 * 1024 * 1024


def frame(data: bytes, number: int | None = None) -> bytes:
    """One event; `data` is one line of JSON, `number` becomes its `id:`."""
    if number is None:
        return b"data: %b\n\n" % data
    return b"id: %d\ndata: %b\n\n" % (number, data)


class FrameReader:
    """Cuts a byte stream into events, however the network cut it; comments vanish."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The `data` of every event completed by `chunk`. Raises `ValueError` past the bound."""
        for raw in self._completed(chunk):
            lines = [line[5:] for line in raw.split(b"\n") if line[:5] == b"data:"]
            if lines:
                yield b"\n".join(line.removeprefix(b" ") for line in lines)

    def numbered(self, chunk: bytes) -> Iterator[tuple[int | None, bytes]]:
        """The same, each with its `id:`; None where it has none. One that is no number is also a
        `ValueError`."""
        for raw in self._completed(chunk):
            lines = [line.partition(b":") for line in raw.split(b"\n")]
            data = [value.removeprefix(b" ") for name, _, value in lines if name == b"data"]
            ids = [value.strip() for name, _, value in lines if name == b"id"]
            if data:
                yield _number(ids[-1]) if ids else None, b"\n".join(data)

    def _completed(self, chunk: bytes) -> list[bytes]:
        whole = self._rest + chunk
        if b"\r" in whole:
            whole = whole.replace(b"\r\n", b"\n")
        *frames, self._rest = whole.split(b"\n\n")
        if len(self._rest) > MAX_FRAME_BYTES:
            raise ValueError(f"an event of more than {MAX_FRAME_BYTES} bytes")
        return frames


def _number(text: bytes) -> int:
    if not (text.isdigit() and len(text) < 16):
        raise ValueError(f"an event whose id is {text[:40]!r}")
    return int(text)
