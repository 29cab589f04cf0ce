"""Ten times what the workers can do: a real queen, stub workers, and clients that do not wait.

Every accepted request finishes, the others are told so at once, as much is done as without the
overload, and memory stays where it is.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import anyio
import psutil
import pytest

from rbee.errors import Overloaded
from rbee.wire.http import Http
from tests.queen.conftest import queen, status, stub

SLOTS, WORDS, GAP_S = 4, 10, 0.02
CAPACITY = 2 * SLOTS / (WORDS * GAP_S)
"""Requests a second, if nothing but the words took time."""
OFFERED = 10 * CAPACITY
FOR_S = 10.0
ASKED: dict[str, Any] = {"operation": "infer", "model": "bee", "stream": False}
ASKED["prompt"] = " ".join(["word"] * WORDS)


@dataclass
class Tally:
    done_at: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    retry_after_s: list[float] = field(default_factory=list)
    others: list[BaseException] = field(default_factory=list)

    async def ask(self, http: Http, url: str) -> None:
        began = time.monotonic()
        try:
            await http.call("POST", f"{url}/v1/jobs", Any, ASKED, timeout_s=60.0)
            self.done_at.append(time.monotonic())
        except Overloaded as exc:
            self.refused_s.append(time.monotonic() - began)
            self.retry_after_s.append(exc.retry_after_s)
        except Exception as exc:
            self.others.append(exc)

    def rate(self, since: float, until: float) -> float:
        return sum(1 for at in self.done_at if since <= at < until) / (until - since)


async def _peak(http: Http, url: str) -> float:
    """What is done a second when every slot is always busy, and no more is asked."""
    tally, ends = Tally(), time.monotonic() + 4.0

    async def one_after_the_other() -> None:
        while time.monotonic() < ends:
            await tally.ask(http, url)

    async with anyio.create_task_group() as group:
        for _ in range(3 * SLOTS):
            group.start_soon(one_after_the_other)
    assert not tally.others
    return tally.rate(ends - 3.0, ends)


async def _flood(http: Http, url: str) -> tuple[Tally, float]:
    """Clients come at a fixed rate, whatever becomes of those before them."""
    tally, began = Tally(), time.monotonic()
    async with anyio.create_task_group() as group:
        for number in range(int(OFFERED * FOR_S)):
            await anyio.sleep(max(0.0, began + number / OFFERED - time.monotonic()))
            group.start_soon(tally.ask, http, url)
    return tally, began


@pytest.mark.slow
def test_ten_times_the_capacity(capsys: pytest.CaptureFixture[str]) -> None:
    async def play(url: str, pid: int) -> None:
        async with Http() as http:
            peak = await _peak(http, url)
            await _flood(http, url)
            before = psutil.Process(pid).memory_info().rss
            tally, began = await _flood(http, url)
            grown = psutil.Process(pid).memory_info().rss - before
        goodput = tally.rate(began + 2.0, began + FOR_S)
        refused = sorted(tally.refused_s)
        p50, p99 = (refused[int(len(refused) * share)] for share in (0.5, 0.99))
        with capsys.disabled():
            print(  # noqa: T201
                f"\npeak {peak:.1f}/s, goodput {goodput:.1f}/s; {len(tally.done_at)} done,"
                f" {len(refused)} refused in {p50 * 1e3:.1f} ms (p50), {p99 * 1e3:.1f} ms (p99),"
                f" Retry-After {min(tally.retry_after_s):.0f} to {max(tally.retry_after_s):.0f} s;"
                f" memory {grown / 2**20:+.1f} MiB"
            )
        assert not tally.others
        # What is promised is 0.95 and 50 ms, on a machine that does nothing else (`rbee chaos`).
        assert goodput >= 0.6 * peak
        assert p99 < 0.5
        assert all(1.0 <= s <= 60.0 for s in tally.retry_after_s)
        assert grown < 24 * 2**20  # what is garbage and not yet looked for comes and goes

    usual = queen(beat_s=1.0, beats_missed=4)
    with usual as q, stub(q.url, id="a", gap_s=GAP_S), stub(q.url, id="b", gap_s=GAP_S):
        anyio.run(play, q.url, q.pid)
        queue = status(q.url)["queue"]
        assert (queue["waiting"], queue["leased"], queue["done"]) == (0, 0, queue["arrived"])
