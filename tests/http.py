"""The plainest HTTP client there is, for tests that look at statuses, headers and raw events."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 20.0


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The `data:` of a whole event stream, without the closing `[DONE]`."""
        return [data for _, data in frames(self.body.decode().split("\n"))]


def ask(
    method: str,
    url: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """One request and its whole answer; `body` is JSON unless it is bytes."""
    with _sent(method, url, body, headers, timeout_s) as response:
        return Answer(response.status, dict(response.getheaders()), response.read())


@contextmanager
def listening(
    method: str,
    url: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[tuple[Mapping[str, str], Iterator[tuple[int | None, Any]]]]:
    """A streamed answer's headers, and its events as (id, data) while they arrive; leaving the
    context closes the connection."""
    with _sent(method, url, body, headers, TIMEOUT_S) as response:
        assert response.status == 200, response.read()
        lines = (line.decode().rstrip("\n") for line in response)
        yield dict(response.getheaders()), frames(lines)


def frames(lines: Any) -> Iterator[tuple[int | None, Any]]:
    number: int | None = None
    for line in lines:
        if line.startswith("id: "):
            number = int(line[4:])
        elif line == "data: [DONE]":
            return
        elif line.startswith("data: "):
            yield number, json.loads(line[6:])


@contextmanager
def _sent(
    method: str, url: str, body: Any, headers: Mapping[str, str] | None, timeout_s: float
) -> Iterator[http.client.HTTPResponse]:
    parts = urlsplit(url)
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    extra = {"Content-Type": "application/json"} if data is not None else {}
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request(method, path, data, {**extra, **(headers or {})})
        response = connection.getresponse()
        yield response
    finally:
        connection.close()
