"""A small model hub on a local port: what `huggingface_hub` asks, answered as the real one does.

Set its fields to make it misbehave; `requests` says what it was asked. Content is redirected to
another host name, as the real hub does, and `tokens_leaked` counts tokens that followed there.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


@dataclass
class Request:
    method: str
    path: str
    start: int
    token: str


@dataclass
class Hub:
    """Its repositories, its faults, and what it was asked."""

    url: str = ""
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cuts: list[int] = field(default_factory=list)
    """For each coming answer with content: the bytes after which the connection breaks."""
    stall_after: int | None = None
    """Bytes after which content stops coming, until `go`."""
    damaged: bool = False
    ignores_ranges: bool = False
    listing: bytes | None = None
    """Answer every question for a listing with this."""
    status: int = 0
    """Answer everything with this."""
    requests: list[Request] = field(default_factory=list)
    tokens_leaked: int = 0
    stalled: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    @property
    def starts(self) -> list[int]:
        """Where each transfer began."""
        return [r.start for r in self.requests if r.path.startswith("/cdn/")]

    def env(self) -> dict[str, str]:
        """The environment that leads `huggingface_hub` here."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": "/nonexistent", "HF_TOKEN": "hf_secret"}


@contextmanager
def hub() -> Iterator[Hub]:
    """A running hub."""
    state = Hub()
    handler = type("Handler", (_Handler,), {"hub": state})
    server = _Server(("127.0.0.1", 0), handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield state
    finally:
        state.go.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed breaks its connection; anything else is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        pass  # the tests look at `requests`

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        span = self.headers.get("Range", "")
        start = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
        token = self.headers.get("Authorization", "")
        self.hub.requests.append(Request(self.command, path, start, token))
        if self.hub.status:
            self._send(self.hub.status, b"{}")
        elif path.startswith("/api/models/"):
            self._listing(path.removeprefix("/api/models/").partition("/revision/")[0])
        elif path.startswith("/cdn/"):
            self.hub.tokens_leaked += bool(token)
            self._content(path.removeprefix("/cdn/"), start)
        else:
            self._resolve(path.removeprefix("/"))

    def _listing(self, repo: str) -> None:
        if self.hub.listing is not None:
            self._send(200, self.hub.listing)
            return
        files = self.hub.repos.get(repo)
        if files is None:
            self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        siblings = [_sibling(name, data) for name, data in files.items()]
        body = {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": siblings}
        self._send(200, json.dumps(body).encode())

    def _resolve(self, path: str) -> None:
        repo, _, rest = path.partition("/resolve/")
        name = rest.partition("/")[2]
        data = self.hub.repos.get(repo, {}).get(name)
        if repo in self.hub.gated:
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif data is None:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        else:
            digest = hashlib.sha256(data).hexdigest()
            there = f"{self.hub.url.replace('127.0.0.1', 'localhost')}/cdn/{repo}/{name}"
            headers = {"Location": there, "X-Repo-Commit": COMMIT, "ETag": f'"{digest}"'}
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data))}
            self._send(302, b"", headers)

    def _content(self, path: str, start: int) -> None:
        org, name, file = path.split("/", 2)
        data = self.hub.repos[f"{org}/{name}"][file]
        if self.hub.damaged:
            data = data[:-1] + bytes([data[-1] ^ 1])
        partial = start > 0 and not self.hub.ignores_ranges
        headers = {}
        if partial:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(206 if partial else 200, data[start:] if partial else data, headers, cut=True)

    def _send(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, *, cut: bool = False
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut and self.hub.cuts:
            self.wfile.write(body[: self.hub.cuts.pop(0)])
            self.close_connection = True
        elif cut and self.hub.stall_after is not None:
            self.wfile.write(body[: self.hub.stall_after])
            self.hub.stalled.set()
            self.hub.go.wait(60)
            self.close_connection = True
        else:
            self.wfile.write(body)


def _sibling(name: str, data: bytes) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    return {
        "rfilename": name,
        "size": len(data),
        "blobId": digest[:40],
        "lfs": {"sha256": digest, "size": len(data), "pointerSize": 134},
    }
