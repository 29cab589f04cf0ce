"""A paused request in a real engine: nothing is computed of it, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Sequence

import anyio
import pytest

from rbee.contracts.worker_api import Embed
from rbee.worker.engine.backend import Chunk
from rbee.worker.engine.commands import Cancel, Command, Pause, Proceed
from rbee.worker.engine.engine import Engine
from rbee.worker.engine.patience import LEAST_S, MOVED_PER_S, SLACK, UNKNOWN_S
from rbee.worker.ticket import whole
from tests.worker.echo import EchoBackend
from tests.worker.rig import Rig, running, until

pytestmark = pytest.mark.anyio


def key_of(rig: Rig, place: int = 0) -> str:
    """What the engine calls the request that came at `place`."""
    return list(rig.service._tickets)[place]


async def told(rig: Rig, command: Command) -> None:
    """Send a command to an engine that is not held, and let it take it."""
    rig.engine.send(command)
    await until(rig.engine._inbox.empty)


async def stepped(rig: Rig, batches: int) -> None:
    """Until the engine stands at the door of its `batches`-th decode."""
    await until(lambda: len(rig.backend.batches) == batches)


@pytest.mark.parametrize("pool", [0, 2_000])
@pytest.mark.parametrize("steps", [1, 2, 5])
async def test_pausing_changes_nothing_of_the_answer(steps: int, pool: int) -> None:
    """In the prompt (of two chunks) and while decoding."""
    async with running(slots=2, pool=pool) as rig:
        text = "a paused answer " * 5
        rig.backend.hold()
        ticket = await rig.begin(text)
        await stepped(rig, 1)
        rig.backend.step(steps - 1)
        await stepped(rig, steps)
        rig.engine.send(Pause(key := key_of(rig)))
        rig.backend.release()
        await until(lambda: rig.engine.planner.paused == 1 and rig.engine.step_age_s == 0.0)
        assert len(rig.backend.batches) == steps and rig.engine.busy == 1
        other = await rig.ask("the other")
        assert other.choices[0].text == "the other" and not ticket.log.ended
        rig.engine.send(Proceed(key))
        assert (await whole(ticket)).choices[0].text == text
        await rig.idle()


async def test_an_engine_with_nothing_but_paused_requests_sleeps() -> None:
    async with running(slots=1) as rig:
        rig.backend.hold()
        ticket = await rig.begin("x" * 200)
        waits = await rig.begin("waits")
        await stepped(rig, 1)
        rig.engine.send(Pause(key := key_of(rig)))
        rig.backend.release()
        await until(lambda: rig.engine.planner.paused == 1 and rig.engine.step_age_s == 0.0)
        steps, spent = rig.engine.steps, time.process_time()
        await anyio.sleep(0.2)
        assert rig.engine.steps == steps and time.process_time() - spent < 0.1
        assert (rig.engine.busy, rig.engine.waiting) == (1, 1)
        rig.engine.send(Proceed(key))
        for each in (ticket, waits):
            await whole(each)
        await rig.idle()


async def test_cancelling_a_paused_request_frees_its_slots() -> None:
    async with running(slots=2) as rig:
        rig.backend.hold()
        ticket = await rig.begin("x" * 100, n=3)
        await stepped(rig, 1)
        rig.engine.send(Pause(key_of(rig)))
        rig.backend.release()
        await until(lambda: rig.engine.planner.paused == 1)
        ticket.cancel()
        await rig.idle()
        assert rig.engine.planner.paused == 0
        assert (await rig.ask("again")).choices[0].text == "again"


async def test_commands_for_what_has_ended_leave_nothing_behind() -> None:
    async with running(slots=1) as rig:
        await rig.ask("a")
        for command in (Pause("gone"), Proceed("gone"), Cancel("gone"), Pause("gone")):
            await told(rig, command)
        assert (await rig.ask("b")).choices[0].text == "b"
        assert rig.engine.planner.paused == 0


async def test_many_that_are_paused_and_let_on_all_get_their_own_answer() -> None:
    async with running(slots=3, budget=16, pool=300) as rig:
        tickets = [await rig.begin(f"number {i} " * 8) for i in range(12)]
        keys = list(rig.service._tickets)
        for round_ in range(40):
            for key in keys[round_ % 4 :: 4]:
                rig.engine.send(Pause(key))
            await anyio.sleep(0.001)
            for key in keys[(round_ + 2) % 4 :: 4]:
                rig.engine.send(Proceed(key))
        for key in keys:
            rig.engine.send(Proceed(key))
        for i, ticket in enumerate(tickets):
            assert (await whole(ticket)).choices[0].text == f"number {i} " * 8
        await rig.idle()


async def test_the_age_of_a_step_and_how_long_it_may_take() -> None:
    async with running(slots=1) as rig:
        assert rig.engine.pulse == (0.0, LEAST_S)
        rig.backend.hold()
        ticket = await rig.begin("abc")
        await stepped(rig, 1)
        age, limit = rig.engine.pulse
        assert limit == UNKNOWN_S and age < 5.0
        await until(lambda: rig.engine.step_age_s > age)
        rig.backend.step()
        await stepped(rig, 2)
        assert rig.engine.step_limit_s < UNKNOWN_S, "a prompt's cost is known now"
        rig.backend.release()
        await whole(ticket)
        await until(lambda: rig.engine.pulse == (0.0, LEAST_S))


async def test_a_step_of_vectors_has_a_limit_of_its_own() -> None:
    async with running() as rig:
        limits: list[float] = []
        plain = rig.backend.embed

        def looking(inputs: Sequence[Sequence[int]]) -> list[object]:
            limits.append(rig.engine.step_limit_s)
            return plain(inputs)  # type: ignore[return-value]

        await rig.ask("abc")
        rig.backend.embed = looking  # type: ignore[method-assign, assignment]
        for _ in range(2):
            await rig.service.embed(Embed(model="echo", input=["abc"]))
        assert limits == [UNKNOWN_S, LEAST_S]


async def test_copied_memory_is_waited_for() -> None:
    """llama.cpp moves it within the next decode: here ten gigabytes of it."""
    async with running(slots=2, context=4_096) as rig:
        rig.backend.copy_bytes = 10**10
        limits: list[float] = []
        plain = rig.backend.decode

        def looking(chunks: Sequence[Chunk], adapter: str = "") -> None:
            limits.append(rig.engine.step_limit_s)
            plain(chunks, adapter)

        await rig.ask("x" * 100)
        rig.backend.decode = looking  # type: ignore[method-assign]
        await rig.ask("x" * 100, n=2)
        assert max(limits) > 10**10 * SLACK / MOVED_PER_S and limits[-1] == LEAST_S


async def test_an_engine_that_takes_no_command_shows_it() -> None:
    """Its thread hangs between two steps: here it was never started."""
    backend = EchoBackend()
    engine = Engine(backend, 64, lambda updates: None, lambda why: None)
    assert engine.step_age_s == 0.0
    engine.send(Cancel("x"))
    await until(lambda: engine.step_age_s > 0.05)
    age = engine.step_age_s
    engine.send(Cancel("y"))
    assert engine.step_age_s >= age, "a newer command hides no older one"
    assert engine.step_limit_s == LEAST_S
    engine.start()
    await until(lambda: engine.step_age_s == 0.0)
    assert engine.stop()
