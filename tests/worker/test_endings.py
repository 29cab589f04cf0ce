"""However a request ends, its slot is free within one step; one that fails fails alone."""

from __future__ import annotations

import anyio
import pytest

from rbee.contracts.events import Failed
from rbee.contracts.operations import Infer
from rbee.contracts.worker_api import Embed
from rbee.errors import Cancelled, Late, Overloaded, RbeeError, WorkerGone
from rbee.worker.engine.backend import Chunk, DecodeFailed
from rbee.worker.ticket import Ticket, whole
from tests.worker.echo import EchoBackend
from tests.worker.rig import Rig, running, until

pytestmark = pytest.mark.anyio


async def decoding(rig: Rig, batches: int) -> None:
    """Until the engine stands at the door of its `batches`-th decode."""
    await until(lambda: len(rig.backend.batches) == batches)


def code_of(ticket: Ticket) -> str:
    assert isinstance(ticket.log.last, Failed)
    return ticket.log.last.code


@pytest.mark.parametrize(("steps", "phase"), [(0, "prompt"), (1, "prompt"), (3, "decode")])
async def test_cancelling_frees_the_slot_within_one_step(steps: int, phase: str) -> None:
    async with running(slots=1, budget=32) as rig:
        rig.backend.hold()
        ticket = await rig.begin("x" * 60)
        rig.backend.step(steps)
        await decoding(rig, steps + 1)
        assert (ticket.first is None) == (phase == "prompt")
        ticket.cancel()
        assert code_of(ticket) == Cancelled.code and rig.service.jobs == []
        rig.backend.step()  # the decode it was in, and none after
        await rig.idle()
        assert len(rig.backend.batches) == steps + 1


async def test_cancelling_one_that_waits_leaves_the_running_one_alone() -> None:
    async with running(slots=1) as rig:
        rig.backend.hold()
        stays = await rig.begin("stays")
        await decoding(rig, 1)
        goes = await rig.begin("goes", n=3)
        rig.backend.step()
        await until(lambda: rig.engine.waiting == 3)
        goes.cancel()
        rig.backend.step()
        await until(lambda: rig.engine.waiting == 0)
        assert rig.engine.busy == 1
        rig.backend.release()
        assert (await whole(stays)).choices[0].text == "stays"
        await rig.idle()


async def test_cancelling_ends_all_choices_of_a_request_and_no_others() -> None:
    async with running(slots=4) as rig:
        rig.backend.hold()
        goes, stays = await rig.begin("goes", n=2), await rig.begin("stays", n=2)
        rig.backend.step()
        await until(lambda: rig.engine.busy == 4)
        goes.cancel()
        rig.backend.step(2)
        await until(lambda: rig.engine.busy == 2)
        rig.backend.release()
        assert [c.text for c in (await whole(stays)).choices] == ["stays"] * 2


async def test_a_slot_is_clean_for_whoever_gets_it_next() -> None:
    async with running(slots=1) as rig:
        rig.backend.hold()
        ticket = await rig.begin("left behind")
        rig.backend.step(3)
        await decoding(rig, 4)
        ticket.cancel()
        rig.backend.release()
        assert (await rig.ask("new")).choices[0].text == "new"


async def test_a_deadline_ends_a_request_wherever_it_is() -> None:
    async with running(slots=1) as rig:
        rig.backend.hold()
        runs = await rig.begin("runs", deadline_ms=80)
        waits = await rig.begin("waits", deadline_ms=30)
        for ticket in (waits, runs):
            await rig.events(ticket)
            assert code_of(ticket) == Late.code
            assert f"{ticket.infer.deadline_ms} ms" in str(ticket.error)
        rig.backend.step()
        await rig.idle()
        rig.backend.release()
        in_time = await rig.begin("in time", deadline_ms=60_000)
        assert (await whole(in_time)).choices[0].text == "in time"
        assert in_time.deadline is not None and in_time.deadline.cancelled()


async def test_a_full_line_is_said_and_nobody_is_lost() -> None:
    async with running(slots=1, queue_limit=2) as rig:
        rig.backend.hold()
        taken = [await rig.begin(f"request {i}") for i in range(3)]
        for body in (rig.begin("one more"), rig.service.embed(Embed(model="echo", input=["a"]))):
            with pytest.raises(Overloaded, match="2 requests are waiting") as caught:
                await body
            assert caught.value.status == 429 and caught.value.retry_after_s > 0
        rig.backend.release()
        for i, ticket in enumerate(taken):
            assert (await whole(ticket)).choices[0].text == f"request {i}"
        assert (await rig.ask("again")).choices[0].text == "again"


async def test_a_burst_cannot_slip_past_the_bound() -> None:
    """All are checked before the engine has seen any of them."""
    async with running(slots=1, queue_limit=2) as rig:
        rig.backend.hold()
        outcomes: list[str] = []

        async def one() -> None:
            try:
                await rig.begin("burst")
                outcomes.append("taken")
            except Overloaded:
                outcomes.append("refused")

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(one)
        assert outcomes.count("taken") == 3 and outcomes.count("refused") == 17


def refuse_when(backend: EchoBackend, marker: int, *, fatal: bool) -> None:
    def refuse(chunks: object) -> DecodeFailed | None:
        assert isinstance(chunks, list | tuple)
        hit = any(isinstance(c, Chunk) and marker in c.tokens for c in chunks)
        return DecodeFailed("as told", fatal=fatal) if hit else None

    backend.refuse = refuse


async def test_a_refused_batch_fails_its_own_requests_only() -> None:
    async with running(slots=1) as rig:
        refuse_when(rig.backend, ord("!"), fatal=False)
        before, fails, after = [await rig.begin(p) for p in ("before", "fail!", "after")]
        assert (await whole(before)).choices[0].text == "before"
        with pytest.raises(RbeeError, match="could not compute this request: as told"):
            await whole(fails)
        assert (await whole(after)).choices[0].text == "after"
        await rig.idle()
        assert not rig.deaths


async def test_a_refused_choice_takes_its_request_along() -> None:
    async with running(slots=2, budget=32) as rig:
        refuse_when(rig.backend, ord("!"), fatal=False)
        with pytest.raises(RbeeError, match="as told"):
            await rig.ask("x" * 40 + "!", n=2)
        await rig.idle()


async def test_a_context_in_doubt_ends_the_engine() -> None:
    async with running(slots=1) as rig:
        refuse_when(rig.backend, ord("!"), fatal=True)
        ticket = await rig.begin("fatal!")
        await until(lambda: rig.deaths)
        assert rig.deaths == ["DecodeFailed: as told"]
        rig.service.close("the engine died")
        with pytest.raises(WorkerGone, match="the engine died"):
            await whole(ticket)


async def test_a_refused_vector_fails_alone() -> None:
    async with running() as rig:
        plain = rig.backend.embed

        def failing(tokens: object) -> object:
            raise DecodeFailed("no vector", fatal=False)

        rig.backend.embed = failing  # type: ignore[method-assign,assignment]
        with pytest.raises(RbeeError, match="no vector"):
            await rig.service.embed(Embed(model="echo", input=["a"]))
        rig.backend.embed = plain  # type: ignore[method-assign]
        assert (await rig.service.embed(Embed(model="echo", input=["a"]))).vectors
        assert (await rig.ask("goes on")).choices[0].text == "goes on"


async def test_closing_ends_everything_and_takes_no_more() -> None:
    async with running(slots=1) as rig:
        rig.backend.hold()
        tickets = [await rig.begin(f"r{i}") for i in range(3)]
        rig.service.close("The worker is shutting down.")
        assert [code_of(t) for t in tickets] == [WorkerGone.code] * 3
        with pytest.raises(WorkerGone, match="shutting down"):
            await rig.service.begin(Infer(model="echo", prompt="late"))
        rig.backend.step()
        await rig.idle()


async def test_a_heartbeat_is_due_when_a_slot_is_taken_and_when_it_is_free() -> None:
    async with running(slots=1) as rig:
        seen: list[int] = []
        rig.service.poke = lambda: seen.append(rig.engine.busy)
        rig.backend.hold()
        ticket = await rig.begin("beat")
        rig.backend.step()
        await until(lambda: seen[-1:] == [1])
        ticket.cancel()
        rig.backend.step()
        await until(lambda: seen[-1] == 0)
