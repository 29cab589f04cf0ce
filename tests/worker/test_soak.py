"""Ten thousand short requests to one worker process: all are answered, and it is no larger after.

Every kind of request takes its turn, eight at a time: streamed and whole, left in the middle,
several choices, several salts, forms that must be compiled. What a first thousand leaves behind
(caches and allocators that fill up) is what the others may have too. Some 80 seconds of one core;
`SOAK_REQUESTS=100000 pytest tests/worker/test_soak.py` sends as many.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.bee import known_answers as known
from tests.http import ask, listening
from tests.processes import Started
from tests.worker.bees import endless, infer, request, serving, status, until

REQUESTS = int(os.environ.get("SOAK_REQUESTS", "10000"))
WARM_UP = REQUESTS // 10
AT_ONCE = 8
SLOTS = 4
GROWTH_BYTES = 10 * 1024 * 1024
CITY = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}}}
LOOK_UP = {"type": "function", "function": {"name": "look_up", "parameters": CITY}}


@dataclass(frozen=True)
class Held:
    """What the process holds when it has nothing to do."""

    anonymous_bytes: int
    files: int
    threads: int

    def __str__(self) -> str:
        anonymous = self.anonymous_bytes / 2**20
        return f"RssAnon {anonymous:.1f} MiB, {self.files} files, {self.threads} threads"


def held(pid: int) -> Held:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [anonymous] = [int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")]
    process = psutil.Process(pid)
    return Held(anonymous, process.num_fds(), process.num_threads())


def idle(worker: Started) -> None:
    """Nothing runs, nothing waits, and every connection but the one that asks is closed."""

    def at_rest() -> bool:
        now = status(worker.url)
        return not (now["busy"] or now["waiting"] or now["jobs"])

    until(at_rest)
    until(lambda: len(psutil.Process(worker.pid).net_connections("tcp")) == 1)


class Visitor:
    """Sends request number so-and-so, and knows what must come of it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._endless = endless(url)
        self._kinds: list[Callable[[int], None]] = [
            self.whole,
            self.streamed,
            self.left,
            self.chosen,
            self.constrained,
            self.called,
            self.scored,
            self.refused,
        ]

    def visit(self, number: int) -> int:
        self._kinds[number % len(self._kinds)](number)
        return 1

    def whole(self, number: int) -> None:
        fields: dict[str, Any] = {"cache_salt": f"salt {number % 5}", "n": 1 + number // 8 % 3}
        found = self._asked("Hello", max_tokens=6, **fields)
        assert all(known.GREETING.startswith(c["text"]) for c in found["choices"])
        assert all(c["text"] for c in found["choices"])

    def streamed(self, number: int) -> None:
        body = request(prompt=f"{number} bees", max_tokens=8, temperature=1, ignore_eos=True)
        with listening("POST", f"{self._url}/v1/infer", body) as (_, events):
            *_, (_, last) = events
        assert last["type"] == "done" and last["usage"]["completion_tokens"] == 8

    def left(self, number: int) -> None:
        """The reader goes in the middle; every other time before anything was said."""
        url = f"{self._url}/v1/infer"
        with listening("POST", url, self._endless | {"n": 1 + number % 2}) as (_, events):
            for _ in range(number // 8 % 2 * 3):
                next(events)

    def chosen(self, number: int) -> None:
        fields: dict[str, Any] = {"temperature": 1, "seed": number, "top_p": 0.9, "max_tokens": 4}
        found = self._asked("Tell me a story.", n=3, cache_salt=str(number), **fields)
        assert len(found["choices"]) == 3

    def constrained(self, number: int) -> None:
        """Every schema is another one: nothing may be kept of them all."""
        words = [f"word {number}", "bee"]
        found = self._asked("Say something.", json_schema={"enum": words}, max_tokens=40)
        assert json.loads(found["choices"][0]["text"]) in words

    def called(self, number: int) -> None:
        fields = {"tools": [LOOK_UP], "tool_choice": "required", "parallel_tool_calls": False}
        found = self._asked("Where is Oslo?", max_tokens=40, **fields)
        assert found["choices"][0]["finish_reason"] in ("tool_calls", "length")

    def scored(self, number: int) -> None:
        found = self._asked(None, prompt="Bees are", echo=True, logprobs=5, max_tokens=4)
        assert found["prompt"]["logprobs"] and found["choices"][0]["logprobs"]

    def refused(self, number: int) -> None:
        bad = request("x", stop=["y" * 5_000], cache_salt=str(number))
        assert ask("POST", f"{self._url}/v1/infer", bad).status == 422

    def _asked(self, said: str | None, **fields: Any) -> Any:
        return infer(self._url, said, **fields)


@pytest.mark.slow
@pytest.mark.timeout(600 * max(1, REQUESTS // 10_000))
@pytest.mark.skipif(sys.platform != "linux", reason="RssAnon is Linux's")
def test_ten_thousand_requests_leave_nothing_behind() -> None:
    with serving(slots=SLOTS) as worker, ThreadPoolExecutor(AT_ONCE) as visitors:
        visitor = Visitor(worker.url)
        before = held(worker.pid)
        answered = sum(visitors.map(visitor.visit, range(WARM_UP)))
        idle(worker)
        warm = held(worker.pid)
        answered += sum(visitors.map(visitor.visit, range(WARM_UP, REQUESTS)))
        idle(worker)
        after = held(worker.pid)
        told = f"first {before}; after {WARM_UP}: {warm}; after {REQUESTS}: {after}"
        sys.stderr.write(told + "\n")
        assert answered == REQUESTS
        assert after.anonymous_bytes - warm.anonymous_bytes < GROWTH_BYTES, told
        assert after.files <= warm.files, told
        assert after.threads <= before.threads + AT_ONCE, told
