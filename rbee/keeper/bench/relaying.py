"""What the queen adds: the same request to the worker and through the queen, taking turns."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from rbee.client.sync import Client
from rbee.errors import Upstream
from rbee.keeper.bench.table import Row, row
from rbee.keeper.throwaway import home, serving

LIMIT_S = 30.0
MESSAGES = [{"role": "user", "content": "Hello"}]
NATIVE: dict[str, Any] = {
    "operation": "infer",
    "model": "bee",
    "messages": MESSAGES,
    "max_tokens": 4,
}
OPENAI: dict[str, Any] = {"model": "bee", "messages": MESSAGES, "max_tokens": 4, "stream": True}


def measure(requests: int) -> Iterator[Row]:
    """Milliseconds to the first token over kept-alive connections, and the difference."""
    with home() as env, serving(_ports(env), env):
        client = Client(queen=env["RBEE_QUEEN_URL"], hive=env["RBEE_HIVE_URL"])
        client.infer("a", model="bee", max_tokens=1)  # the worker is up now
        worker = client.status().workers[0].worker.url
        queen = env["RBEE_QUEEN_URL"]
        ways = {
            "worker /v1/infer": _Asker(worker, "/v1/infer", NATIVE),
            "queen /v1/jobs": _Asker(queen, "/v1/jobs", NATIVE),
            "queen /v1/chat/completions": _Asker(queen, "/v1/chat/completions", OPENAI),
        }
        took: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(requests + 10):
            for name, asker in ways.items():
                value = asker.first_token_ms()
                if turn >= 10:
                    took[name].append(value)
    direct, native, openai = took.values()
    yield from (row(f"{name}, first token", "ms", values) for name, values in took.items())
    yield row("added by the queen", "ms", _differences(native, direct), "<= 2")
    yield row("added by the queen, OpenAI", "ms", _differences(openai, direct), "<= 2")


def _differences(through: list[float], direct: list[float]) -> list[float]:
    """Neighbours in time are compared, so that a slow spell of the machine hits both."""
    return [a - b for a, b in zip(through, direct, strict=True)]


def _ports(env: dict[str, str]) -> list[str]:
    queen, hive = (urlsplit(env[f"RBEE_{who}_URL"]).port for who in ("QUEEN", "HIVE"))
    return ["--queen-port", str(queen), "--hive-port", str(hive)]


class _Asker:
    """One kept-alive connection that asks the same again and again."""

    def __init__(self, url: str, path: str, body: dict[str, Any]) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._http = http.client.HTTPConnection(parts.hostname, parts.port, timeout=LIMIT_S)
        self._path = path
        self._body = json.dumps(body)

    def first_token_ms(self) -> float:
        began = time.perf_counter()
        self._http.request("POST", self._path, self._body, {"Content-Type": "application/json"})
        answer = self._http.getresponse()
        found: float | None = None
        while line := answer.readline():
            if found is None and _has_text(line):
                found = (time.perf_counter() - began) * 1000
        if found is None:
            raise Upstream(f"{self._path} answered {answer.status} without a token.")
        return found


def _has_text(line: bytes) -> bool:
    """Whether an SSE line carries text, in either dialect."""
    return b'"type":"token"' in line or (b'"content":"' in line and b'"content":""' not in line)
