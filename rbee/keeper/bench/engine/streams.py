"""A client that costs next to nothing, for it shares the cores with what it measures.

One thread, plain sockets, one selector: while streams run their bytes are kept with the time at
which they came, and read as events afterwards. It knows HTTP only as far as this takes: every
request has a connection of its own, and a server that streams sends whole events at a time.
"""

from __future__ import annotations

import json
import math
import re
import selectors
import socket
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from rbee.errors import Late, Upstream

CONNECT_S = 5.0
SILENCE_S = 300.0
"""A large model may read its prompt for minutes."""
PIECE_BYTES = 65_536
TOKEN = b'"type":"token"'
_EVENT = re.compile(rb"^data: (\{.*\})\r?$", re.MULTILINE)


class Stream:
    """One answer: its bytes as they came; asked for as soon as it is made."""

    def __init__(
        self, address: tuple[str, int], path: str, body: bytes, wake_bytes: int = 1
    ) -> None:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.socket = socket.create_connection(address, CONNECT_S)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wake_bytes)
        self.sent = time.perf_counter()
        self.socket.sendall(head.encode() + body)
        self.arrivals = 0
        """How often tokens came so far."""
        self.ended = False
        self._pieces: list[bytes] = []
        self._times: list[float] = []

    def take(self) -> None:
        """Read what is there."""
        piece = self.socket.recv(PIECE_BYTES)
        self._times.append(time.perf_counter())
        self._pieces.append(piece)
        self.arrivals += TOKEN in piece
        self.ended = not piece

    def events(self) -> list[tuple[float, dict[str, Any]]]:
        """All events, with the time at which each was complete. Raises `Upstream` when the server
        refused, failed, or sent what is none."""
        raw = b"".join(self._pieces)
        if not raw.startswith(b"HTTP/1.1 200 "):
            raise Upstream(f"A benchmarked server answered {raw[-500:].decode('utf-8', 'replace')}")
        ends = list(accumulate(map(len, self._pieces)))
        found = [
            (self._times[bisect_left(ends, match.end())], json.loads(match[1]))
            for match in _EVENT.finditer(raw)
        ]
        for _, event in found:
            if event.get("type") == "failed":
                raise Upstream(f"A benchmarked answer failed: {event['message']}")
        return found

    def marks(self) -> list[float]:
        """When each token came."""
        return [at for at, event in self.events() for _ in range(_tokens(event))]

    def first_s(self) -> float:
        """Seconds to the first token."""
        return self.marks()[0] - self.sent

    def gaps(self, since: float = -math.inf, until: float = math.inf) -> list[float]:
        """Seconds between arrivals, of gaps that ended within these times. Tokens that came
        together are one arrival."""
        ends = pairwise(sorted(set(self.marks())))
        return [after - before for before, after in ends if since <= after <= until]

    def ids(self) -> list[int]:
        return [token for _, event in self.events() for token in event.get("token_ids", ())]

    def text(self) -> str:
        return "".join(event.get("text", "") for _, event in self.events())

    def usage(self) -> dict[str, int]:
        """Of a complete answer."""
        last = self.events()[-1][1]
        if last.get("type") != "done":
            raise Upstream("A benchmarked answer broke off.")
        usage: dict[str, int] = last["usage"]
        return usage


class Streams:
    """Streams of one server, read together; leaving it closes what still runs."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None and parts.port is not None
        self._address = (parts.hostname, parts.port)
        self._selector = selectors.DefaultSelector()
        self._open: set[Stream] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for stream in list(self._open):
            self._drop(stream)
        self._selector.close()

    def start(self, path: str, body: bytes, wake_bytes: int = 1) -> Stream:
        stream = Stream(self._address, path, body, wake_bytes)
        self._selector.register(stream.socket, selectors.EVENT_READ, stream)
        self._open.add(stream)
        return stream

    def read(self, until: Callable[[], bool] = lambda: False) -> None:
        """Read until `until`, at the longest until all have ended."""
        while self._open and not until():
            ready = self._selector.select(SILENCE_S)
            if not ready:
                raise Late(f"A benchmarked server said nothing for {SILENCE_S:.0f} s.")
            for key, _ in ready:
                stream: Stream = key.data
                stream.take()
                if stream.ended:
                    self._drop(stream)

    def _drop(self, stream: Stream) -> None:
        self._selector.unregister(stream.socket)
        self._open.discard(stream)
        stream.socket.close()


def together(url: str, path: str, bodies: Sequence[bytes], wake_bytes: int = 1) -> list[Stream]:
    """Ask all at the same time, and read them to their ends. With `wake_bytes` the client sleeps
    until so much has come of a stream: its waking would take the cores from what it measures, and
    a reader on another machine takes nothing."""
    with Streams(url) as streams:
        asked = [streams.start(path, body, wake_bytes) for body in bodies]
        streams.read()
    return asked


def rate(streams: Sequence[Stream]) -> float:
    """Tokens a second of all streams together while all of them run: each stream's own pace from
    the moment when the last one has begun to that when the first one ends, summed. Streams too
    short for that count from their asking to the last token of all, which says less than is true.
    """
    if inside := _common(streams):
        return sum(_after_first(marks) / (marks[-1] - marks[0]) for marks in inside)
    marks = [at for stream in streams for at in stream.marks()]
    return len(marks) / (max(marks) - min(stream.sent for stream in streams))


def _after_first(marks: Sequence[float]) -> int:
    """Tokens that came later than the first ones: several may have come at a time."""
    return sum(at > marks[0] for at in marks)


def ran_together(streams: Sequence[Stream]) -> bool:
    """Whether there was a time when all streams ran."""
    return bool(_common(streams))


def _common(streams: Sequence[Stream]) -> list[list[float]]:
    """Each stream's marks of that time; nothing when some have too few for a pace."""
    every = [stream.marks() for stream in streams]
    first, last = max(marks[0] for marks in every), min(marks[-1] for marks in every)
    inside = [[at for at in marks if first <= at <= last] for marks in every]
    return inside if all(marks and marks[-1] > marks[0] for marks in inside) else []


def _tokens(event: dict[str, Any]) -> int:
    """How many tokens an event brings: ours names their ids, OpenAI's is one for each."""
    if event.get("type") == "token":
        return len(event["token_ids"])
    return int(any(choice.get("text") for choice in event.get("choices", ())))
