"""Leases that are lost, suspects that are tried, and a line that is honest: one story each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from rbee.contracts.events import AnyEvent, Queued
from rbee.errors import Late, Overloaded, RbeeError
from rbee.queen.dispatch import Dispatch
from rbee.queen.errands import Errands
from rbee.queen.lease import Lease
from rbee.queen.leasing import Verdict
from rbee.queen.registry import Registry
from rbee.queen.scheduler import Need
from rbee.wire.http import Http
from tests.queen.fleets import hive, process, worker

SILENCE_S = 4.0
Story = Callable[["World"], Awaitable[None]]


@dataclass
class Asker:
    """A request that holds its lease, inside its scope, until it is told how that ended."""

    options: dict[str, Any]
    need: Need
    end: anyio.Event = field(default_factory=anyio.Event)
    breaks: bool = False
    lease: Lease | None = None
    error: RbeeError | None = None
    freed: bool = False
    verdict: Verdict | None = None
    events: list[AnyEvent] = field(default_factory=list)

    async def run(self, dispatch: Dispatch) -> None:
        try:
            async with dispatch.lease(self.need, self.events.append, **self.options) as lease:
                self.lease = lease
                with lease.scope:
                    await self.end.wait()
                self.freed = lease.scope.cancelled_caught
                if self.breaks:
                    dispatch.leases.broke(lease)
                if lease.lost:
                    self.verdict = await dispatch.leases.verdict(lease)
        except RbeeError as exc:
            self.error = exc

    def finish(self, *, breaks: bool = False) -> None:
        self.breaks = breaks
        self.end.set()

    @property
    def where(self) -> str:
        return "" if self.lease is None else self.lease.worker.id


class World:
    def __init__(self, group: anyio.abc.TaskGroup, **settings: Any) -> None:
        self.now = 100.0
        self.group = group
        self.registry = Registry(0.0)
        given = {"queue_limit": 6, "wait_limit_s": 60.0, **settings}
        self.dispatch = Dispatch(
            self.registry, Errands(group, Http(), 10.0), clock=lambda: self.now, **given
        )
        self.seq = 0

    async def settle(self) -> None:
        for _ in range(6):
            await anyio.lowlevel.checkpoint()

    async def ask(self, need: Need | None = None, **options: Any) -> Asker:
        asker = Asker(options, need or Need("bee"))
        self.group.start_soon(asker.run, self.dispatch)
        await self.settle()
        return asker

    async def beat(self, name: str, life: str = "1", **more: Any) -> None:
        self.seq += 1
        self.registry.beat(worker(name, life, self.seq, **more), self.now)
        self.dispatch.pump()
        await self.settle()

    async def wait(self, seconds: float, *, beating: str = "", **more: Any) -> None:
        """In steps, as the tick does; nobody else beats meanwhile."""
        ends = self.now + seconds
        while self.now < ends:
            self.now = min(ends, self.now + 0.25)
            if beating:
                await self.beat(beating, **more)
            self.dispatch.pump()
            await self.settle()

    async def finish(self, asker: Asker, **how: bool) -> None:
        asker.finish(**how)
        await self.settle()


def told(story: Story, **settings: Any) -> None:
    async def play() -> None:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                world = World(group, **settings)
                await story(world)
                group.cancel_scope.cancel()
            view = world.dispatch.view()
            assert (view.waiting, view.leased, view.done) == (0, 0, view.arrived)

    anyio.run(play)


@pytest.mark.parametrize("how", ["silent", "wedged", "anew", "goodbye", "hive"])
def test_whoever_waits_for_a_lost_worker_is_freed(how: str) -> None:
    async def story(world: World) -> None:
        await world.beat("a", hive_id="h")
        world.registry.beat(hive("h", models=[], workers=[process("a")]), world.now)
        asker = await world.ask()
        await world.beat("a", hive_id="h", state="draining")
        assert asker.where == "a" and not asker.freed, "one that drains finishes what it has"
        match how:
            case "silent":
                await world.wait(SILENCE_S + 0.5)
            case "wedged":
                await world.beat("a", step_age_s=3.0, step_limit_s=2.0)
            case "anew":
                await world.beat("a", "2")
            case "goodbye":
                await world.beat("a", state="stopped")
            case "hive":
                down = [process("a", state="backoff", reason="signal 9")]
                world.registry.beat(hive("h", seq=2, models=[], workers=down), world.now)
                world.dispatch.pump()
                await world.settle()
        assert asker.freed and asker.lease is not None and asker.lease.lost
        assert asker.verdict == ("innocent" if how in ("silent", "goodbye") else "suspect")

    told(story)


def test_one_broken_stream_ends_no_other() -> None:
    async def story(world: World) -> None:
        await world.beat("a", slots=3)
        one, other = await world.ask(), await world.ask()
        await world.finish(one, breaks=True)
        assert one.verdict == "suspect" and not other.freed
        waiting = await world.ask()
        await world.wait(0.75)
        assert waiting.where == "", "it has not been heard since"
        await world.beat("a", slots=3)
        assert (waiting.where, other.freed) == ("a", False)

    told(story)


def test_a_worker_that_fails_is_left_alone_though_it_beats() -> None:
    async def story(world: World) -> None:
        await world.beat("a")
        asker = await world.ask()
        for pause_s in (0.5, 1.0, 2.0):
            await world.finish(asker, breaks=True)
            asker = await world.ask()
            await world.wait(pause_s - 0.25, beating="a")
            assert asker.where == ""
            await world.wait(0.25, beating="a")
            assert asker.where == "a"
        second = await world.ask()
        assert second.where == "", "one alone tries it out"
        assert asker.lease is not None
        asker.lease.progressed()
        await world.wait(0.25, beating="a")
        assert second.where == "a"

    told(story)


def test_suspects_are_tried_one_at_a_time_on_each_worker() -> None:
    async def story(world: World) -> None:
        await world.beat("a", slots=4)
        await world.beat("b", slots=4)
        suspects = [await world.ask(suspect=True, again=True) for _ in range(4)]
        assert sorted(s.where for s in suspects) == ["", "", "a", "b"]
        innocent = await world.ask()
        assert innocent.where, "others are not held up"
        on_a = next(s for s in suspects if s.where == "a")
        assert on_a.lease is not None
        on_a.lease.progressed()
        await world.settle()
        assert [s.where for s in suspects].count("a") == 2
        await world.finish(next(s for s in suspects if s.where == "b"))
        assert [s.where for s in suspects].count("b") == 2

    told(story)


def test_a_crash_under_trial_has_one_culprit() -> None:
    async def story(world: World) -> None:
        await world.beat("a", slots=4)
        suspect = await world.ask(suspect=True, again=True)
        beside = await world.ask()
        await world.finish(beside, breaks=True)
        assert beside.verdict == "suspect"
        await world.finish(suspect, breaks=True)
        assert suspect.verdict is None, "the worker may live"
        await world.wait(SILENCE_S + 0.5)
        assert suspect.verdict == "poison"

    told(story)


def test_a_broken_connection_alone_convicts_nobody() -> None:
    async def story(world: World) -> None:
        await world.beat("a")
        suspect = await world.ask(suspect=True, again=True)
        await world.finish(suspect, breaks=True)
        await world.beat("a")
        assert suspect.verdict is None, "that beat may be older than the break"
        await world.beat("a")
        assert suspect.verdict == "suspect"
        await world.wait(1.0)
        await world.beat("a")
        second = await world.ask(suspect=True, again=True)
        await world.finish(second, breaks=True)
        await world.beat("a", state="stopped")
        assert second.verdict == "suspect", "it meant to go"

    told(story)


def test_a_beat_that_was_on_its_way_clears_no_culprit() -> None:
    """The worker sent it, died of the request, and the broken connection was noticed first."""

    async def story(world: World) -> None:
        await world.beat("a")
        suspect = await world.ask(suspect=True, again=True)
        await world.finish(suspect, breaks=True)
        await world.beat("a")
        await world.wait(SILENCE_S + 0.5)
        assert suspect.verdict == "poison"

    told(story)


def test_what_ends_in_order_accuses_nobody() -> None:
    async def story(world: World) -> None:
        await world.beat("a")
        asker = await world.ask()
        await world.beat("a", state="stopped")
        await world.finish(asker, breaks=True)
        assert asker.verdict == "innocent"

    told(story)


def test_a_farewell_is_no_crash() -> None:
    async def story(world: World) -> None:
        await world.beat("a")
        for state in ("ready", "draining"):
            asker = await world.ask()
            assert asker.lease is not None
            await world.beat("a", state=state)
            world.dispatch.leases.parted(asker.lease, "it is shutting down")
            await world.finish(asker)
            assert asker.verdict == "innocent"
            await world.wait(1.0, beating="a")

    told(story)


def test_a_busy_worker_is_not_asked_again_before_it_is_heard() -> None:
    async def story(world: World) -> None:
        await world.beat("a")
        asker = await world.ask()
        assert asker.lease is not None
        world.dispatch.leases.declined(asker.lease)
        await world.finish(asker)
        waiting = await world.ask()
        assert waiting.where == "" and asker.verdict is None
        await world.beat("a")
        assert waiting.where == "a"

    told(story)


def test_who_lost_a_worker_goes_first_whatever_the_bound() -> None:
    async def story(world: World) -> None:
        await world.beat("a", slots=1, sha256="aa")
        holder = await world.ask()
        fresh = [await world.ask(priority=9) for _ in range(7)]
        assert isinstance(fresh[-1].error, Overloaded)
        again = await world.ask(again=True)
        begun = await world.ask(Need("bee", sha256="aa"))
        assert world.dispatch.view().waiting == 8
        for asker in (holder, again, begun):
            assert asker.where == "a"
            await world.finish(asker)
        assert fresh[0].where == "a"

    told(story)


def test_those_who_wait_outlast_a_silence() -> None:
    async def story(world: World) -> None:
        await world.beat("a", slots=1)
        holder, waiting = await world.ask(), await world.ask()
        await world.wait(SILENCE_S + 1.0)
        newcomer = await world.ask()
        assert holder.freed and waiting.error is None and newcomer.error is None
        await world.beat("a", slots=1)
        await world.wait(0.5, beating="a", slots=1)
        assert waiting.where == "a"
        await world.wait(SILENCE_S + 1.0)
        last = await world.ask()
        assert last.error is None
        await world.wait(16.0)
        assert last.error is not None, "it did not come back"

    told(story)


def test_a_line_that_moves_fails_nobody() -> None:
    async def story(world: World) -> None:
        await world.beat("a", slots=1)
        askers = [await world.ask() for _ in range(6)]
        for asker in askers[:-1]:
            await world.wait(50.0, beating="a", slots=1)
            assert asker.where == "a"
            await world.finish(asker)
        assert askers[-1].where == "a", "after 250 s, and 60 s is the limit"
        stuck = await world.ask()
        await world.wait(59.0, beating="a", slots=1)
        assert stuck.error is None
        await world.wait(1.0, beating="a", slots=1)
        assert isinstance(stuck.error, Late)

    told(story)


async def _leases(world: World, count: int, seconds: float) -> None:
    for _ in range(count):
        asker = await world.ask()
        world.now += seconds
        await world.beat("a", slots=1)
        await world.finish(asker)


def test_what_cannot_be_served_in_time_is_refused_at_once() -> None:
    async def story(world: World) -> None:
        await world.beat("a", slots=1)
        first = await world.ask(deadline_s=0.001)
        assert first.where == "a", "nothing was measured, and a slot is free"
        await world.finish(first)
        await _leases(world, 60, 20.0)
        holder = await world.ask()
        hasty = await world.ask(deadline_s=15.0)
        assert isinstance(hasty.error, Overloaded) and hasty.error.path == "$.deadline_ms"
        assert "about 19964 ms" in hasty.error.message and "15000 ms" in hasty.error.message
        assert hasty.error.retry_after_s == pytest.approx(4.96, abs=0.01)
        patient = [await world.ask(deadline_s=100.0) for _ in range(3)]
        late = await world.ask()
        assert isinstance(late.error, Overloaded)
        assert "about 80 s" in late.error.message and "longer than 60 s" in late.error.message
        assert late.error.retry_after_s == pytest.approx(19.85, abs=0.1)
        assert all(a.error is None for a in patient)
        await world.finish(holder)

    told(story)


def test_who_is_sent_away_comes_back_when_there_is_room() -> None:
    """One after the other, at the measured rate: not all of them at once."""

    async def story(world: World) -> None:
        await world.beat("a", slots=1)
        unmeasured = [await world.ask() for _ in range(8)].pop()
        assert isinstance(unmeasured.error, Overloaded)
        assert unmeasured.error.retry_after_s == 5.0

    told(story)

    async def measured(world: World) -> None:
        await world.beat("a", slots=1)
        await _leases(world, 60, 4.0)
        asked = [await world.ask() for _ in range(7 + 20)]
        waits = [a.error.retry_after_s for a in asked if a.error is not None]
        assert waits == [pytest.approx(min(60.0, 4.0 * n), rel=0.01) for n in range(1, 21)]
        for served in asked[:5]:
            await world.wait(4.0, beating="a", slots=1)
            await world.finish(served)
        later = [await world.ask() for _ in range(6)].pop()
        assert later.error is not None
        assert later.error.retry_after_s == pytest.approx(44.0, rel=0.05), "15 - 5 + 1 times 4 s"

    told(measured)


def test_those_who_wait_are_told_when_their_turn_comes() -> None:
    async def story(world: World) -> None:
        await world.beat("a", slots=1)
        await _leases(world, 40, 2.0)
        holder = await world.ask()
        waiting = [await world.ask() for _ in range(3)]
        positions = [[e.position for e in a.events if isinstance(e, Queued)] for a in waiting]
        assert positions == [[0], [1], [2]]
        etas = [e.eta_s for a in waiting for e in a.events if isinstance(e, Queued)]
        assert etas == [pytest.approx(2.0 * n, rel=0.05) for n in (1, 2, 3)]
        await world.finish(holder)
        await world.wait(0.5)
        assert [e.position for e in waiting[2].events if isinstance(e, Queued)] == [2, 1]

    told(story)
