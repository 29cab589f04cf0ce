"""A server that answers as scripted, byte for byte, and remembers what it was asked.

It stands at the border: whoever talks to it uses real sockets, and it can do what no decent server
does: fall silent, break off, or speak nonsense.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

LIMIT_S = 20.0


@dataclass(frozen=True)
class Script:
    """What to send for one request; `hold` then waits for the other side to leave."""

    said: bytes
    hold: bool = False


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Stub:
    url: str
    scripts: list[Script]
    asked: list[Asked] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    """The paths of what was deleted: these requests need no script."""
    left: threading.Event = field(default_factory=threading.Event)
    """Set when somebody left an answer that was held."""

    def then(self, *scripts: Script) -> None:
        self.scripts += scripts

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
            self.asked.append(asked)
            script = self.scripts.pop(0)
            try:
                made.sendall(script.said)
                if script.hold:
                    while made.recv(4096):
                        pass
                    self.left.set()
            except ConnectionError:
                self.left.set()


def whole(value: Any, status: int = 200) -> Script:
    """A JSON answer."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return Script(f"{head}\r\nConnection: close\r\n\r\n".encode() + body)


def stream(*events: Any, end: bool = True, hold: bool = False, job: str = "job-1") -> Script:
    """An event stream, each event its own chunk; without `end` it breaks off (or is held)."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Rbee-Job-Id: {job}\r\n"
    frames = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]
    frames += [b"data: [DONE]\n\n"] if end else []
    body = b"".join(b"%x\r\n%b\r\n" % (len(f), f) for f in [b": hello\n\n", *frames])
    tail = b"0\r\n\r\n" if end else b""
    return Script(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + body + tail, hold)


def token(text: str, index: int = 0) -> dict[str, Any]:
    return {"type": "token", "index": index, "text": text, "token_ids": [index]}


def done(**more: Any) -> dict[str, Any]:
    return {"type": "done", "finish_reason": "stop", "model": "bee", **more}


CANCELLED = {
    "job_id": "job-1",
    "operation": "infer",
    "state": "cancelled",
    "age_s": 1.0,
    "events": 2,
    "readers": 0,
}


def problem(code: str, message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **more}}


@contextmanager
def stub(*scripts: Script) -> Iterator[Stub]:
    """A stub on a free port, answering its requests one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Stub(f"http://127.0.0.1:{listener.getsockname()[1]}", list(scripts))
        thread = threading.Thread(target=_serve, args=(listener, made))
        thread.start()
        try:
            yield made
        finally:
            with socket.create_connection(listener.getsockname()) as last:
                last.sendall(b"STOP\r\n\r\n")
            thread.join(LIMIT_S)
            assert not thread.is_alive()


def _serve(listener: socket.socket, made: Stub) -> None:
    answering: list[threading.Thread] = []
    while True:
        connection, _ = listener.accept()
        if connection.recv(4, socket.MSG_PEEK) == b"STOP":
            connection.close()
            break
        answering.append(threading.Thread(target=made.answer, args=(connection,)))
        answering[-1].start()
    for thread in answering:
        thread.join(LIMIT_S)


def read(made: socket.socket) -> Asked | None:
    """One request, or None when the other side leaves without one."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = made.recv(65_536)
        if not chunk:
            return None
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += made.recv(65_536)
    method, path, _ = first.split(" ")
    return Asked(method, path, headers, body)


def free_ports(count: int) -> Sequence[int]:
    """Ports that nobody has at the moment."""
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in taken]
    for each in taken:
        each.close()
    return ports
