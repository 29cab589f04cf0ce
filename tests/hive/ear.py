"""A queen that only listens: keeps the heartbeats she gets, so that tests can wait for facts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LIMIT_S = 20.0


class Ear:
    """What was heard."""

    def __init__(self) -> None:
        self.url = ""
        self.beats: list[dict[str, Any]] = []
        self._heard = threading.Condition()

    def hear(self, beat: dict[str, Any]) -> None:
        with self._heard:
            self.beats.append(beat)
            self._heard.notify_all()

    def until(self, fact: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first beat, heard already or to come, of which `fact` is true."""
        ends = time.monotonic() + LIMIT_S
        with self._heard:
            while True:
                for beat in self.beats:
                    if fact(beat):
                        return beat
                if not self._heard.wait(ends - time.monotonic()):
                    raise AssertionError(f"never heard; the last: {self.beats[-1:]}")


@contextmanager
def ear(port: int = 0) -> Iterator[Ear]:
    """A listening queen that asks for a beat a minute: what comes earlier was sent for a reason."""
    heard = Ear()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.hear(json.loads(body))
            answer = b'{"next_s": 60.0, "queen": "ear"}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass  # the tests look at `beats`

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    heard.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
