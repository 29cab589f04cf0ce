"""Readers that stop reading: their answers pause, nobody else notices, and they are cut."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import anyio

from rbee.contracts.answers import JobView
from rbee.errors import JobNotFound, Late
from rbee.keeper.chaos.asks import COUNTING, MODEL
from rbee.keeper.chaos.fleet import Fleet, until
from rbee.keeper.chaos.memory import Memory
from rbee.keeper.chaos.outcome import Outcome, Strike
from rbee.keeper.chaos.plan import Scenario, StopReading
from rbee.keeper.chaos.raw import Reader
from rbee.keeper.chaos.rounds import Stage, keep_asking

TALKATIVE: dict[str, Any] = {
    "model": MODEL,
    "prompt": COUNTING,
    "n": 3,
    "logprobs": 20,
    "ignore_eos": True,
    "temperature": 0.0,
    "max_tokens": 1_900,
}
"""Some ten megabytes: more than any socket's buffer holds."""
PAUSED_S = 1.5
"""An answer that runs and says nothing for so long is paused: a step takes a few ms."""


async def slow(scenario: Scenario, stage: Stage, n: int, seed: int, outcome: Outcome) -> None:
    """`n` readers at the same time, while ordinary streams follow each other."""
    (event,) = scenario.events
    assert isinstance(event, StopReading)
    enough = anyio.Event()
    async with AsyncExitStack() as readers, anyio.create_task_group() as group:
        jobs: list[str] = []
        for _ in range(n):
            reader = await readers.enter_async_context(Reader(stage.fleet.queen, TALKATIVE))
            await reader.take(event.taken_bytes)
            jobs.append(reader.job_id)
        for number in range(scenario.load.width):
            group.start_soon(keep_asking, scenario, stage, seed + number, enough, outcome)
        try:
            await _see_cut(event, stage.fleet, jobs, outcome)
        finally:
            enough.set()


async def _see_cut(event: StopReading, fleet: Fleet, jobs: list[str], outcome: Outcome) -> None:
    for job in jobs:
        try:
            await until(partial(paused, fleet, job), "it pauses", event.paused_within_s)
        except Late:
            outcome.wrong.append("an answer that nobody reads did not pause")
            return
    memory, at = Memory(fleet.pids()), time.monotonic()
    outcome.strikes += [Strike("a reader stopped reading", at) for _ in jobs]
    for job in jobs:
        try:
            await until(partial(over, fleet, job), "it is cut", event.cut_within_s)
        except Late as exc:
            outcome.wrong.append(f"a reader that takes nothing stays: {exc.message}")
    outcome.grown = memory.grown()


async def paused(fleet: Fleet, job_id: str) -> bool:
    """Whether an answer runs and says nothing."""
    before = await view(fleet, job_id)
    await anyio.sleep(PAUSED_S)
    now = await view(fleet, job_id)
    return (
        now is not None
        and before is not None
        and now.state == "running"
        and now.events == before.events > 0
    )


async def over(fleet: Fleet, job_id: str) -> bool:
    found = await view(fleet, job_id)
    return found is None or found.state != "running"


async def view(fleet: Fleet, job_id: str) -> JobView | None:
    """What the queen says of a job; None when she does not know it (any more)."""
    try:
        found: JobView = await fleet.http.call("GET", f"{fleet.queen}/v1/jobs/{job_id}", JobView)
    except JobNotFound:
        return None
    return found
