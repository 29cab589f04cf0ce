"""Requests that survive: registry, dispatch, leases, quarantine and breakers together, under drawn
histories of workers that crash, wedge, drain and live again, and a network that delays, repeats
and reorders what they say. What is true is kept beside what the queen was told.

In the end everything is healed, and every request must have ended in an answer, unless it killed
its workers, its client left, or its budget was spent.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import anyio
from hypothesis import event, given, settings
from hypothesis import strategies as st

from rbee.contracts.fleet import WorkerBeat
from rbee.contracts.operations import Infer
from rbee.errors import Poisonous, RbeeError, WorkerGone
from rbee.queen.attempts import MAX_LOST, Attempts
from rbee.queen.breaker import FIRST_S
from rbee.queen.budget import Budget
from rbee.queen.dispatch import Dispatch
from rbee.queen.errands import Errands
from rbee.queen.fleet import Seat, seat
from rbee.queen.lease import Lease
from rbee.queen.quarantine import Quarantine
from rbee.queen.registry import Registry
from rbee.queen.scheduler import Need
from rbee.wire.http import Http
from tests.queen.fleets import entry, hive, process, worker

SILENCE_S = 4.0
SLOTS = 3
EXAMPLES = 300
NAMES = ("a", "b", "c")


@dataclass
class Sim:
    """A worker as it truly is."""

    name: str
    life: int = 0
    seq: int = 0
    step: int = 0
    alive: bool = False
    wedged: bool = False
    draining: bool = False

    @property
    def seat(self) -> Seat:
        return self.name, str(self.life)

    def begin(self) -> None:
        self.life += 1
        self.seq, self.alive, self.wedged, self.draining = 0, True, False, False

    def beat(self) -> WorkerBeat:
        self.seq += 1
        self.step += not self.wedged
        return worker(
            self.name,
            str(self.life),
            self.seq,
            slots=SLOTS,
            sha256="aa",
            state="draining" if self.draining else "ready",
            step=self.step,
            step_limit_s=2.0,
            step_age_s=3.0 if self.wedged else 0.0,
        )


@dataclass(eq=False)
class Request:
    """One that asks again as long as it may."""

    number: int
    poison: bool
    world: World
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    fate: anyio.Event = field(default_factory=anyio.Event)
    lease: Lease | None = None
    broke: bool = False
    lost_at: float = 0.0
    begun: bool = False
    over: bool = False
    kills: int = 0
    moves: int = 0
    error: RbeeError | None = None

    async def run(self) -> None:
        with self.scope:
            try:
                await self._live()
            except RbeeError as exc:
                self.error = exc
        self.lease, self.over = None, True

    async def _live(self) -> None:
        world = self.world
        asked = Infer(model="bee", prompt=str(self.number))
        attempts = Attempts(asked, world.quarantine, world.budget, world.now)
        need = Need("bee", generates=True)
        while True:
            attempts.check(world.now)
            async with world.dispatch.lease(
                need, lambda event: None, suspect=attempts.suspect, again=attempts.again
            ) as lease:
                if await self._work(lease):
                    attempts.over(world.now)
                    return
                verdict = await world.dispatch.leases.verdict(lease)
                if verdict == "poison":
                    self._check_conviction(lease)
                self.lease = None
            self.moves += 1
            attempts.lost(lease, verdict, self.begun, world.now, 0.0)
            if self.begun:
                need = Need("bee", sha256="aa", context=10)

    async def _work(self, lease: Lease) -> bool:
        """Whether the answer was finished there."""
        world = self.world
        self.lease, self.fate, self.broke = lease, anyio.Event(), False
        world.check_grant(self, lease)
        if not world.lives(lease.seat):
            self.lose()
        with lease.scope:
            await self.fate.wait()
        self.lost_at = world.now
        if self.broke:
            world.dispatch.leases.broke(lease)
        if lease.lost:
            world.failed[lease.seat] = world.now
        return not lease.lost

    def lose(self) -> None:
        """The connection breaks."""
        self.broke = True
        self.fate.set()

    def _check_conviction(self, lease: Lease) -> None:
        world = self.world
        lives = world.lives(lease.seat) and not world.sims[lease.worker.id].wedged
        proven = sum(at > self.lost_at for at in world.beats[lease.seat]) >= 2
        assert not (lives and proven), "convicted of a worker that is well"


class World:
    def __init__(self, group: anyio.abc.TaskGroup) -> None:
        self.now = 100.0
        self.group = group
        self.registry = Registry(0.0)
        errands = Errands(group, Http(), 10.0)
        self.dispatch = Dispatch(
            self.registry, errands, wait_limit_s=80_000.0, spawn_limit_s=80_000.0, clock=self.time
        )
        self.quarantine, self.budget = Quarantine(), Budget()
        self.sims = {name: Sim(name) for name in NAMES}
        self.requests: list[Request] = []
        self.sent: list[WorkerBeat] = []
        self.heard: dict[Seat, tuple[WorkerBeat, float]] = {}
        """The newest beat of each life that reached the queen, and when."""
        self.beats: defaultdict[Seat, list[float]] = defaultdict(list)
        self.failed: dict[Seat, float] = {}
        self.rock = 0

    def time(self) -> float:
        return self.now

    def lives(self, place: Seat) -> bool:
        sim = self.sims[place[0]]
        return sim.alive and sim.seat == place

    def holding(self, place: Seat) -> list[Request]:
        return [r for r in self.requests if r.lease is not None and r.lease.seat == place]

    async def settle(self) -> None:
        for _ in range(8):
            await anyio.lowlevel.checkpoint()

    def deliver(self, beat: WorkerBeat) -> None:
        known = self.heard.get(seat(beat))
        self.registry.beat(beat, self.now)
        if known is None or beat.seq > known[0].seq:
            self.heard[seat(beat)] = (beat, self.now)
            self.beats[seat(beat)].append(self.now)

    def steady(self) -> None:
        """There is always a hive that says a worker may come, so that nobody is refused."""
        self.rock += 1
        spare = [process("spare", state="backoff", sha256="aa")]
        models = [entry("bee", sha256="aa")]
        self.registry.beat(hive("rock", seq=self.rock, models=models, workers=spare), self.now)

    def crash(self, sim: Sim) -> None:
        place, sim.alive = sim.seat, False
        for request in self.holding(place):
            request.lose()

    async def act(self, action: tuple[Any, ...]) -> None:
        match action:
            case ("arrive", poison):
                request = Request(len(self.requests), poison, self)
                self.requests.append(request)
                self.group.start_soon(request.run)
            case ("compute" | "finish" | "cut" | "leave", index) if self.requests:
                self.happen(action[0], self.requests[index % len(self.requests)])
            case ("wait", seconds):
                self.now += seconds
                self.steady()
                self.registry.expire(self.now)
            case ("deliver", index, keep) if self.sent:
                beat = self.sent[index % len(self.sent)]
                if not keep:
                    self.sent.remove(beat)
                self.deliver(beat)
            case (what, name) if name in self.sims:
                self.change(what, self.sims[name])
        self.dispatch.pump()
        await self.settle()

    def happen(self, what: str, request: Request) -> None:
        if what == "leave":
            request.scope.cancel()
        lease = request.lease
        if lease is None or request.fate.is_set() or not self.lives(lease.seat):
            return
        sim = self.sims[lease.worker.id]
        if what == "cut":
            request.lose()
        elif sim.wedged or what == "leave":
            return
        elif request.poison:
            request.kills += 1
            self.crash(sim)
        else:
            request.begun = True
            lease.progressed()
            if what == "finish":
                request.fate.set()

    def change(self, what: str, sim: Sim) -> None:
        match what:
            case "start" if not sim.alive:
                sim.begin()
                self.deliver(sim.beat())
            case "hear" if sim.alive:
                self.deliver(sim.beat())
            case "send" if sim.alive and not self.on_its_way(sim):
                self.sent.append(sim.beat())
            case "crash" if sim.alive:
                self.crash(sim)
            case "wedge":
                sim.wedged = True
            case "unwedge":
                sim.wedged = False
            case "drain":
                sim.draining = True

    def on_its_way(self, sim: Sim) -> bool:
        """A worker awaits the answer to a beat before it sends the next one."""
        known = self.heard.get(sim.seat)
        newest = 0 if known is None else known[0].seq
        return any(seat(b) == sim.seat and b.seq > newest for b in self.sent)

    def check_grant(self, request: Request, lease: Lease) -> None:
        beat, at = self.heard[lease.seat]
        assert beat.state == "ready" and beat.step_age_s == 0.0
        assert self.now - at < SILENCE_S, "a route to a dead worker"
        assert self.now - self.failed.get(lease.seat, 0.0) >= FIRST_S, "its breaker is open"
        beside = [r for r in self.holding(lease.seat) if r is not request]
        assert len(beside) < SLOTS, "two owners of a slot"
        if lease.on_trial:
            assert not any(r.lease is not None and r.lease.on_trial for r in beside)

    def check(self) -> None:
        view = self.dispatch.view()
        alive = [r for r in self.requests if not r.over]
        holding = [r for r in alive if r.lease is not None]
        assert view.waiting + view.leased + view.done == view.arrived
        assert (view.leased, view.waiting) == (len(holding), len(alive) - len(holding))
        taken = Counter(r.lease.seat for r in holding if r.lease is not None)
        for beat in self.registry.view(self.now).workers:
            assert self.dispatch.leased_on(beat) == taken[seat(beat)] <= SLOTS
        for request in holding:
            assert request.lease is not None
            beat, at = self.heard[request.lease.seat]
            if self.now - at >= SILENCE_S or beat.step_age_s:
                assert request.lease.lost, "it waits for a worker that is dead"
        for request in self.requests:
            assert request.kills <= 2, "a third worker died of the same request"

    async def heal(self) -> None:
        """Everything is well again, and stays so."""
        self.sent.clear()
        for _ in range(200):
            for sim in self.sims.values():
                if not sim.alive or sim.draining or sim.wedged:
                    self.crash(sim)
                    sim.begin()
                self.deliver(sim.beat())
            await self.act(("wait", 0.5))
            for request in self.requests:
                self.happen("finish", request)
                await self.settle()
            self.check()
            if all(r.over for r in self.requests):
                return
        raise AssertionError(f"{self.dispatch!r}: somebody waits for ever")

    def check_end(self) -> None:
        view = self.dispatch.view()
        assert (view.waiting, view.leased, view.done) == (0, 0, view.arrived)
        leasing = self.dispatch.leases
        assert not leasing._leases.trials and not leasing._leases._held and not leasing.counts
        assert not any(o.trying is not None for o in leasing._breakers._open.values())
        for request in self.requests:
            if isinstance(request.error, WorkerGone):
                budget = not request.begun and "asked again already" in request.error.message
                assert budget or request.moves == MAX_LOST
            elif request.error is not None:
                assert isinstance(request.error, Poisonous)
                event("poison refused" if request.poison else "convicted by chance")
            elif not request.scope.cancel_called:
                assert request.begun, "it ended in nothing"
                event(f"moved {request.moves} times")


names = st.sampled_from(NAMES)
numbers = st.integers(0, 20)
changes = ("hear", "hear", "hear", "start", "start", "send", "crash", "wedge", "unwedge", "drain")
actions = st.one_of(
    st.tuples(st.just("arrive"), st.sampled_from((False, False, False, True))),
    st.tuples(st.sampled_from(("compute", "finish", "cut", "leave")), numbers),
    st.tuples(st.sampled_from(changes), names),
    st.tuples(st.just("deliver"), numbers, st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from((0.25, 0.5, 1.0, SILENCE_S, 70.0))),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(actions, min_size=10, max_size=80))
def test_every_request_ends_and_none_where_it_must_not_go(history: list[tuple[Any, ...]]) -> None:
    async def play() -> None:
        async with anyio.create_task_group() as group:
            world = World(group)
            world.steady()
            for name in NAMES[:2]:
                await world.act(("start", name))
            for action in history:
                await world.act(action)
                world.check()
            await world.heal()
            world.check_end()

    anyio.run(play)
