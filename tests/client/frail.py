"""A queen with one answer to give, whose connections end as badly as they can.

She keeps jobs as a real one does: a POST begins one under the id that the client gave, and whoever
attaches reads the same numbered events from where he likes. Each connection takes the next fault;
when none is left, she is sound.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from tests.client.stub import CANCELLED, Asked, done, problem, read, token, whole

LIMIT_S = 20.0
How = Literal[
    "close",  # the connection is closed after so many events
    "end",  # the stream ends in order, and too early
    "cut",  # in the middle of an event
    "reset",
    "silence",
    "mute",  # the request was taken, and nothing at all is said
    "headless",  # the request was taken, and its answer's head never came
    "deaf",  # the request was not even taken
    "draining",
    "unreachable",
    "forget",  # restarted: no job is known any more
    "shifted",  # events have wrong numbers
]


@dataclass(frozen=True)
class Fault:
    how: How
    events: int = 0


def log(words: Sequence[str], waits: int = 1) -> list[dict[str, Any]]:
    """An answer's events: waiting, these words, and the end."""
    waited = [{"type": "queued", "position": n, "eta_s": None} for n in range(waits)]
    return [*waited, *(token(word, n) for n, word in enumerate(words)), done()]


@dataclass
class Frail:
    """The queen; what was asked of her, and the jobs she knows."""

    url: str
    events: list[dict[str, Any]]
    faults: list[Fault]
    jobs: set[str] = field(default_factory=set)
    asked: list[Asked] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    turn: threading.Lock = field(default_factory=threading.Lock)
    break_at: int = 0
    """The first stream is broken only when so many events of it were seen."""
    seen: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    @property
    def posts(self) -> int:
        return sum(asked.method == "POST" for asked in self.asked)

    def answer(self, made: socket.socket) -> None:
        made.settimeout(LIMIT_S)
        with made:
            asked = read(made)
            if asked is None:
                return
            if asked.method == "DELETE":
                self.deleted.append(asked.path)
                made.sendall(whole(CANCELLED).said)
                return
            with self.turn:
                self.asked.append(asked)
                fault = self.faults.pop(0) if self.faults else None
            with suppress(ConnectionError):  # the client left
                self._answer(made, asked, fault)

    def _answer(self, made: socket.socket, asked: Asked, fault: Fault | None) -> None:
        how = fault.how if fault else None
        if how == "deaf":
            return
        if how in ("draining", "unreachable"):
            code = "draining" if how == "draining" else "server_unreachable"
            made.sendall(whole(problem(code, "Not now."), 503).said)
            return
        if how == "forget":
            self.jobs.clear()
        job, cursor = self._job(asked)
        if job not in self.jobs:
            made.sendall(whole(problem("job_not_found", f"No job {job!r} here."), 404).said)
        elif how == "mute":
            self._hold(made)
        elif how == "headless":
            return
        else:
            self._stream(made, job, cursor, fault)

    def _job(self, asked: Asked) -> tuple[str, int]:
        """Which job is meant, and from where; a POST begins it."""
        if asked.method == "POST":
            job = asked.headers["x-rbee-job-id"]
            self.jobs.add(job)
            return job, 0
        parts = urlsplit(asked.path)
        return parts.path.split("/")[3], int(parse_qs(parts.query)["from"][0])

    def _stream(self, made: socket.socket, job: str, cursor: int, fault: Fault | None) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Rbee-Job-Id: {job}\r\n"
        made.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        shift = 1 if fault and fault.how == "shifted" else 0
        frames = [
            f"id: {number + shift}\ndata: {json.dumps(event)}\n\n".encode()
            for number, event in enumerate(self.events)
        ][cursor:]
        sent = frames[: fault.events] if fault and not shift else [*frames, b"data: [DONE]\n\n"]
        for frame in sent:
            made.sendall(b"%x\r\n%b\r\n" % (len(frame), frame))
        while fault and self.break_at and self.seen.acquire(timeout=LIMIT_S):
            self.break_at -= 1
        match fault:
            case None | Fault("end" | "shifted"):
                made.sendall(b"0\r\n\r\n")
            case Fault("cut") if frames[len(sent) :]:
                frame = frames[len(sent)]
                made.sendall(b"%x\r\n%b" % (len(frame), frame[: len(frame) // 2]))
            case Fault("reset"):
                made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            case Fault("silence"):
                self._hold(made)

    def _hold(self, made: socket.socket) -> None:
        """Say nothing until the other side leaves."""
        made.settimeout(0.05)
        while not self.stopping.is_set():
            try:
                if not made.recv(4_096):
                    return
            except TimeoutError:
                continue


@contextmanager
def frail(
    events: list[dict[str, Any]], *faults: Fault, port: int = 0, jobs: Sequence[str] = ()
) -> Iterator[Frail]:
    """Such a queen; leaving ends her, and what she was sending."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        made = Frail(url, events, list(faults), set(jobs))
        thread = threading.Thread(target=_serve, args=(listener, made))
        thread.start()
        try:
            yield made
        finally:
            made.stopping.set()
            with socket.create_connection(listener.getsockname()) as last:
                last.sendall(b"STOP\r\n\r\n")
            thread.join(LIMIT_S)
            assert not thread.is_alive()


def _serve(listener: socket.socket, made: Frail) -> None:
    answering: list[threading.Thread] = []
    while True:
        connection, _ = listener.accept()
        if made.stopping.is_set() and connection.recv(4, socket.MSG_PEEK) == b"STOP":
            connection.close()
            break
        answering.append(threading.Thread(target=made.answer, args=(connection,)))
        answering[-1].start()
    for thread in answering:
        thread.join(LIMIT_S)
