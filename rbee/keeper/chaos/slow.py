"""Readers that stop reading: their answers pause, nobody else notices, and they are cut."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, NamedTuple

import anyio

from rbee.contracts.answers import JobState, JobView
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
"""Some ten megabytes."""
MOST = 7
"""Choices of an answer that nobody reads: several times as much."""
PAUSED_S = 1.5
"""An answer that runs and says nothing for so long is paused: a step takes a few ms."""
SEEN_S = 0.2


class Stopped(NamedTuple):
    """A reader that takes no more: its job, and when it took its last byte."""

    job_id: str
    at: float


async def slow(scenario: Scenario, stage: Stage, n: int, seed: int, outcome: Outcome) -> None:
    """`n` readers at the same time, while ordinary streams follow each other."""
    (event,) = scenario.events
    assert isinstance(event, StopReading)
    enough = anyio.Event()
    async with AsyncExitStack() as readers, anyio.create_task_group() as group:
        stopped: list[Stopped] = []
        body = {**TALKATIVE, "n": await _most(stage.fleet)}
        for _ in range(n):
            reader = await readers.enter_async_context(Reader(stage.fleet.queen, body))
            await reader.take(event.taken_bytes)
            stopped.append(Stopped(reader.job_id, time.monotonic()))
        for number in range(scenario.load.width):
            group.start_soon(keep_asking, scenario, stage, seed + number, enough, outcome)
        try:
            await _watch(event, stage.fleet, stopped, enough, outcome)
        finally:
            enough.set()


async def _most(fleet: Fleet) -> int:
    """Choices of an answer that leaves one slot to others, wherever it is computed: so that it does
    not fit into the buffers of all the sockets on its way."""
    beats = [await fleet.beat(seat) for seat in fleet.seats]
    fewest = min((beat.slots for beat in beats if beat is not None), default=1)
    return max(1, min(fewest - 1, MOST))


async def _watch(
    event: StopReading,
    fleet: Fleet,
    stopped: list[Stopped],
    enough: anyio.Event,
    outcome: Outcome,
) -> None:
    """All of them pause, and then each is cut; `enough` is set shortly before."""
    for one in stopped:
        try:
            await until(partial(paused, fleet, one.job_id), "it pauses", event.paused_within_s)
        except Late:
            outcome.wrong.append("an answer that nobody reads did not pause")
            return
        outcome.strikes.append(Strike("a reader stopped reading", time.monotonic()))
    memory = Memory(fleet.pids())
    async with anyio.create_task_group() as group:
        for one in stopped:
            group.start_soon(_see_cut, event, fleet, one, outcome)
        await anyio.sleep(max(0.0, stopped[0].at + event.beside_s - time.monotonic()))
        enough.set()
    outcome.grew(memory.grown())


async def _see_cut(event: StopReading, fleet: Fleet, one: Stopped, outcome: Outcome) -> None:
    """It ends because nobody takes it, and not before that is certain."""
    found: JobView | None = None

    async def ended() -> bool:
        nonlocal found
        found = await view(fleet, one.job_id)
        return found is None or found.state != "running"

    try:
        await until(ended, "it is cut", one.at + event.cut_within_s - time.monotonic(), SEEN_S)
    except Late as exc:
        outcome.wrong.append(f"a reader that takes nothing stays: {exc.message}")
        return
    took_s = time.monotonic() - one.at
    outcome.wrong += uncut(event, took_s, found.state if found is not None else None)


def uncut(event: StopReading, took_s: float, state: JobState | None) -> list[str]:
    """How the end of an answer that nobody took was not that of its reader's time. Pure."""
    wrong = []
    if took_s < event.not_before_s:
        wrong.append(f"a reader was cut {took_s:.0f} s after its last byte already")
    if state != "cancelled":
        wrong.append(f"an answer that nobody took is {state or 'forgotten'}, not cancelled")
    return wrong


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
