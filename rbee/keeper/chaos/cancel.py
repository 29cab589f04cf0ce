"""Requests that are taken back, in every phase of their life: how soon their slot is free again."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from rbee import bee
from rbee.contracts.answers import JobList, JobView
from rbee.errors import Late, Upstream
from rbee.keeper.chaos.asks import COUNTING, MODEL, noise
from rbee.keeper.chaos.fleet import WATCH_S, Fleet, until
from rbee.keeper.chaos.members import Throwaway
from rbee.keeper.chaos.outcome import Outcome
from rbee.keeper.chaos.plan import Cancel, How, Phase, Scenario
from rbee.keeper.chaos.raw import Reader
from rbee.keeper.chaos.rounds import Stage
from rbee.keeper.chaos.slow import TALKATIVE, over, paused, view

BEGUN_S = 20.0
PAUSED_S = 45.0
ENDLESS: dict[str, Any] = {
    "model": MODEL,
    "prompt": COUNTING,
    "ignore_eos": True,
    "max_tokens": 1_900,
}
Used = tuple[int, ...]
"""Places in the queen's line, her leases, and the slots of each worker that its engine has in use.
"""
Begun = Callable[[Throwaway, int], AbstractAsyncContextManager[Reader]]


async def cancel(scenario: Scenario, stage: Stage, n: int, seed: int, outcome: Outcome) -> None:
    """Every phase, `n` times."""
    fleet = stage.fleet
    (event,) = scenario.events
    assert isinstance(fleet, Throwaway) and isinstance(event, Cancel)
    await until(partial(_idle, fleet), "nobody computes", BEGUN_S)
    for number in range(n):
        how = event.hows[number % len(event.hows)]
        for phase in event.phases:
            try:
                async with AsyncExitStack() as begun:
                    if phase == "queued":
                        await _fill(fleet, begun)
                    before = await until(partial(used, fleet), "it is known who computes", BEGUN_S)
                    reader = await begun.enter_async_context(PHASES[phase](fleet, number))
                    took_s = await _cancelled(fleet, reader, how, before)
                outcome.recoveries_s.append(took_s)
                if took_s > event.free_within_s:
                    why = f"cancelled {how} while {phase}, its slot was free after {took_s:.2f} s"
                    outcome.wrong.append(why)
            except Late as exc:
                outcome.wrong.append(f"{phase}, cancelled {how}: {exc.message}")
            await until(partial(_idle, fleet), "nothing is left of it", BEGUN_S)


async def _cancelled(fleet: Throwaway, reader: Reader, how: How, before: Used) -> float:
    """How long it takes until nothing is taken that was not taken before it came."""
    at = time.monotonic()
    if how == "by name":
        await fleet.http.call("DELETE", f"{fleet.queen}/v1/jobs/{reader.job_id}", JobView)
    else:
        reader.close()
    await until(partial(_freed, fleet, reader.job_id, before), "the slot is free", BEGUN_S)
    return time.monotonic() - at


async def _freed(fleet: Throwaway, job_id: str, before: Used) -> bool:
    """The queen's job is over, no worker computes it, and its slot is nobody's: a worker forgets a
    request before its engine does."""
    if not await over(fleet, job_id) or await fleet.seat_of(job_id) is not None:
        return False
    return no_more(await used(fleet), before)


async def used(fleet: Fleet) -> Used:
    """What is taken at the moment. Raises when a worker does not tell: who knows what it holds?"""
    queue = (await fleet.status()).queue
    busy: list[int] = []
    for seat in fleet.seats:
        beat = await fleet.beat(seat)
        if beat is None:
            raise Upstream(f"{seat.worker_id} does not tell its state.")
        busy.append(beat.busy)
    return queue.waiting, queue.leased, *busy


def no_more(now: Used, before: Used) -> bool:
    """Whether nothing is taken beyond what was taken before. Pure."""
    return all(a <= b for a, b in zip(now, before, strict=True))


async def _idle(fleet: Throwaway) -> bool:
    """Nobody computes, nobody waits."""
    return not any(await used(fleet))


async def _fill(fleet: Throwaway, readers: AsyncExitStack) -> None:
    """Have every slot taken by somebody else."""
    beats = [await fleet.beat(seat) for seat in fleet.seats]
    slots = [beat.slots for beat in beats if beat is not None]
    for _ in range(sum(slots)):
        await readers.enter_async_context(Reader(fleet.queen, {**TALKATIVE, "n": 1}))

    async def full() -> bool:
        return await used(fleet) == (0, sum(slots), *slots)

    await until(full, "every slot is taken", BEGUN_S)


@asynccontextmanager
async def _queued(fleet: Throwaway, number: int) -> AsyncIterator[Reader]:
    """Every slot is taken by somebody else."""
    async with Reader(fleet.queen, ENDLESS) as reader:

        async def waits() -> bool:
            return (await fleet.status()).queue.waiting > 0

        await until(waits, "it waits", BEGUN_S)
        yield reader


@asynccontextmanager
async def _loading(fleet: Throwaway, number: int) -> AsyncIterator[Reader]:
    """Its model is no worker's yet."""
    hive_id = next(iter(fleet.hives))
    name = f"other-{number}.gguf"
    models = fleet.folder / hive_id / "models"
    shutil.copy(bee.path(), models / name)

    async def known() -> bool:
        return any(model.id == name for model in (await fleet.status()).models)

    await until(known, "the model is known", BEGUN_S)
    async with Reader(fleet.queen, {**ENDLESS, "model": name}) as reader:

        async def loads() -> bool:
            job = await view(fleet, reader.job_id)
            return job is not None and job.events > 0

        await until(loads, "it loads", BEGUN_S)
        yield reader


@asynccontextmanager
async def _prompt(fleet: Throwaway, number: int) -> AsyncIterator[Reader]:
    """Its prompt is long, and new."""
    body = {**ENDLESS, "prompt": noise(number), "max_tokens": 8}
    before = {job.job_id for job in await _jobs(fleet)}
    async with Reader(fleet.queen, body, waits=False) as reader:

        async def computed() -> bool:
            """An answer is not begun while its prompt is read: its job is found in the list."""
            new = [job.job_id for job in await _jobs(fleet) if job.job_id not in before]
            reader.job_id = new[0] if new else ""
            return bool(new) and await fleet.seat_of(new[0]) is not None

        await until(computed, "it is computed", BEGUN_S, WATCH_S)
        yield reader


@asynccontextmanager
async def _decoding(fleet: Throwaway, number: int) -> AsyncIterator[Reader]:
    async with Reader(fleet.queen, ENDLESS) as reader:
        await reader.take(4_000)
        yield reader


@asynccontextmanager
async def _paused(fleet: Throwaway, number: int) -> AsyncIterator[Reader]:
    """Nobody reads it."""
    async with Reader(fleet.queen, TALKATIVE) as reader:
        await until(partial(paused, fleet, reader.job_id), "it pauses", PAUSED_S)
        yield reader


async def _jobs(fleet: Throwaway) -> list[JobView]:
    found: JobList = await fleet.http.call("GET", f"{fleet.queen}/v1/jobs", JobList)
    return found.jobs


PHASES: Mapping[Phase, Begun] = {
    "queued": _queued,
    "loading": _loading,
    "in the prompt": _prompt,
    "decoding": _decoding,
    "paused": _paused,
}
