"""The dispatch's laws, under drawn histories of arrivals, departures, cancellations and deaths."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbee.contracts.events import AnyEvent, Queued
from rbee.contracts.fleet import WorkerBeat
from rbee.errors import Late, Overloaded, RbeeError
from rbee.queen.dispatch import Dispatch
from rbee.queen.errands import Errands
from rbee.queen.registry import Registry
from rbee.queen.scheduler import Need
from rbee.wire.http import Http
from tests.queen.fleets import worker

LIMIT = 6


@dataclass
class Asker:
    """A request under test: it holds its lease until told to give it back."""

    number: int
    priority: int
    release: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    worker: WorkerBeat | None = None
    error: RbeeError | None = None
    over: bool = False
    events: list[AnyEvent] = field(default_factory=list)

    async def run(self, dispatch: Dispatch, granted: list[int]) -> None:
        try:
            with self.scope:
                async with dispatch.lease(Need("bee"), self.events.append, self.priority) as lease:
                    self.worker = lease.worker
                    granted.append(self.number)
                    await self.release.wait()
        except RbeeError as exc:
            self.error = exc
        self.over = True


class World:
    def __init__(self, group: anyio.abc.TaskGroup) -> None:
        self.now = 100.0
        self.group = group
        self.registry = Registry(0.0, beat_s=1_000.0)
        self.dispatch = Dispatch(
            self.registry,
            Errands(group, Http(), 10.0),
            queue_limit=LIMIT,
            wait_limit_s=60.0,
            clock=lambda: self.now,
        )
        self.askers: list[Asker] = []
        self.granted: list[int] = []
        self.seq = 0

    async def settle(self) -> None:
        for _ in range(5):
            await anyio.lowlevel.checkpoint()

    async def arrive(self, priority: int) -> Asker:
        asker = Asker(len(self.askers), priority)
        self.askers.append(asker)
        self.group.start_soon(asker.run, self.dispatch, self.granted)
        await self.settle()
        return asker

    async def beat(self, name: str, state: str = "ready", slots: int = 2) -> None:
        self.seq += 1
        self.registry.beat(worker(name, seq=self.seq, state=state, slots=slots), self.now)
        self.dispatch.pump()
        await self.settle()

    async def act(self, action: tuple[Any, ...]) -> None:
        match action:
            case ("arrive", priority):
                await self.arrive(priority)
            case ("release", index) if self.askers:
                self.askers[index % len(self.askers)].release.set()
            case ("cancel", index) if self.askers:
                self.askers[index % len(self.askers)].scope.cancel()
            case ("beat", name, state):
                await self.beat(name, state)
            case ("wait", seconds):
                self.now += seconds
                self.dispatch.pump()
        await self.settle()

    def check(self) -> None:
        view = self.dispatch.view()
        holding = [a for a in self.askers if a.worker is not None and not a.over]
        waiting = [a for a in self.askers if a.worker is None and not a.over]
        assert view.waiting + view.leased + view.done == view.arrived == len(self.askers)
        assert (view.leased, view.waiting) == (len(holding), len(waiting))
        assert view.waiting <= LIMIT
        fleet = self.registry.view(self.now)
        for found in fleet.workers:
            held = sum(1 for a in holding if a.worker and a.worker.id == found.id)
            assert held == self.dispatch.leased_on(found) <= found.slots
            assert not waiting or held == found.slots, "somebody waits beside a free slot"


actions = st.one_of(
    st.tuples(st.just("arrive"), st.integers(-1, 1)),
    st.tuples(st.just("release"), st.integers(0, 50)),
    st.tuples(st.just("cancel"), st.integers(0, 50)),
    st.tuples(st.just("beat"), st.sampled_from(("a", "b")), st.sampled_from(("ready", "draining"))),
    st.tuples(st.just("wait"), st.sampled_from((1.0, 30.0))),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(actions, max_size=40))
def test_nothing_is_lost_and_no_slot_is_taken_twice(history: list[tuple[Any, ...]]) -> None:
    async def play() -> None:
        async with anyio.create_task_group() as group:
            world = World(group)
            await world.beat("a")
            for action in history:
                await world.act(action)
                world.check()
            for asker in world.askers:
                asker.scope.cancel()
            await world.settle()
            assert world.dispatch.view().done == len(world.askers)

    anyio.run(play)


def test_priority_first_then_arrival() -> None:
    async def play() -> None:
        async with anyio.create_task_group() as group:
            world = World(group)
            await world.beat("a", slots=1)
            for priority in (0, 0, 5, 0, 5):
                await world.arrive(priority)
                await world.act(("wait", 1.0))
            assert [e.position for e in world.askers[1].events if isinstance(e, Queued)] == [
                0,
                1,
                2,
            ]
            for _ in range(5):
                world.askers[world.granted[-1]].release.set()
                await world.settle()
            assert world.granted == [0, 2, 4, 1, 3]

    anyio.run(play)


def test_the_line_is_bounded_and_waiting_ends() -> None:
    async def play() -> None:
        async with anyio.create_task_group() as group:
            world = World(group)
            await world.beat("a", slots=1)
            for _ in range(LIMIT + 2):
                await world.arrive(0)
            assert isinstance(world.askers[-1].error, Overloaded)
            world.now += 60.0
            world.dispatch.pump()
            await world.settle()
            assert all(isinstance(a.error, Late) for a in world.askers[1:-1])
            world.askers[0].release.set()

    anyio.run(play)


@pytest.mark.parametrize("state", ["stopped", "draining"])
def test_leases_on_a_worker_that_left_are_given_back_all_the_same(state: str) -> None:
    async def play() -> None:
        async with anyio.create_task_group() as group:
            world = World(group)
            await world.beat("a", slots=1)
            asker = await world.arrive(0)
            await world.beat("a", state)
            asker.release.set()
            await world.settle()
            assert world.dispatch.view().leased == 0

    anyio.run(play)
