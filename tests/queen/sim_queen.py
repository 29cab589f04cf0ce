"""One life of a queen over the wire of `sim_wire`: all that decides and passes on is real.

Beside it stands what she was told, so that a test can say what she must not do.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from anyio.abc import TaskGroup

from rbee.contracts.events import Done, Failed
from rbee.contracts.fleet import WorkerBeat
from rbee.contracts.operations import Infer
from rbee.errors import Cancelled
from rbee.queen.adoption import Adoption
from rbee.queen.breaker import FIRST_S
from rbee.queen.budget import Budget
from rbee.queen.dispatch import Dispatch
from rbee.queen.errands import Errands
from rbee.queen.fleet import Seat, seat
from rbee.queen.inference import Inference
from rbee.queen.metrics import Metrics
from rbee.queen.pursuit import Pursuit
from rbee.queen.registry import Registry
from rbee.queen.retries import Retries
from rbee.wire.jobs import Job, Jobs, Wanted
from tests.queen.drawn_time import DrawnTime
from tests.queen.fleets import entry, hive, process
from tests.queen.sim_wire import Connection, Wire
from tests.queen.sim_workers import SHA, SLOTS, Worker

SILENCE_S = 4.0
GRACE_S = 30.0
NO_LIMIT_S = 80_000.0


class Queen:
    """`group` is hers alone: when it is cancelled she is dead."""

    def __init__(self, loop: DrawnTime, workers: Mapping[str, Worker], group: TaskGroup) -> None:
        self._loop = loop
        self.group = group
        clock = loop.time
        self.wire = Wire(workers, self._check_opened, self._note_failed, self._note_worked)
        self.registry = Registry(clock())
        errands = Errands(group, self.wire, 10.0, clock)
        self.dispatch = Dispatch(
            self.registry, errands, wait_limit_s=NO_LIMIT_S, spawn_limit_s=NO_LIMIT_S, clock=clock
        )
        metrics = Metrics(self.dispatch.view)
        retries = Retries(self.dispatch.leases, metrics, Budget(), clock)
        pursuit = Pursuit(self.dispatch, retries, metrics, GRACE_S, clock)
        self._inference = Inference(pursuit, self.wire, metrics, GRACE_S)
        self.jobs = Jobs(group)
        self.adoption = Adoption(
            self.registry, self._inference, self.jobs, self.wire, GRACE_S, clock
        )
        self.heard: dict[Seat, tuple[WorkerBeat, float]] = {}
        """The newest beat of each life that reached her, and when."""
        self.beats: defaultdict[Seat, list[float]] = defaultdict(list)
        self.barred: dict[Seat, tuple[float, bool]] = {}
        """Until when nobody may be sent there, for the first of its streams that broke; and whether
        it is certain that this was taken for a failure."""
        self._rock = 0
        self.steady()

    def steady(self) -> None:
        """There is always a hive that says a worker may come, so that nobody is refused."""
        self._rock += 1
        spare = [process("spare", state="backoff", sha256=SHA)]
        beat = hive("rock", seq=self._rock, models=[entry("bee", sha256=SHA)], workers=spare)
        self.registry.beat(beat, self._loop.now)

    def begin(self, infer: Infer, job_id: str) -> Job:
        wanted = Wanted(job_id=job_id, grace_s=GRACE_S)
        return self.jobs.start("infer", lambda job: self._inference.run(infer, job), wanted)

    def hear(self, beat: WorkerBeat) -> None:
        known = self.heard.get(seat(beat))
        self.registry.beat(beat, self._loop.now)
        if known is None or beat.seq > known[0].seq:
            self.heard[seat(beat)] = (beat, self._loop.now)
            self.beats[seat(beat)].append(self._loop.now)

    def tick(self) -> None:
        self.registry.expire(self._loop.now)
        self.dispatch.pump()

    def die(self) -> None:
        """As by kill -9: nobody is told anything."""
        self.wire.cut = True
        self.group.cancel_scope.cancel()

    def _note_failed(self, connection: Connection, certain: bool) -> None:
        self.barred.setdefault(connection.seat, (self._loop.now + FIRST_S, certain))

    def _note_worked(self, place: Seat) -> None:
        """A token may have closed its breaker."""
        if place in self.barred:
            self.barred[place] = 0.0, False

    def _check_opened(self, connection: Connection) -> None:
        """She is about to ask this worker to compute, by what she was told of it."""
        now, place = self._loop.now, connection.seat
        beat, at = self.heard[place]
        assert beat.state == "ready" and beat.step_age_s == 0.0
        assert now - at < SILENCE_S, "a route to a dead worker"
        until, certain = self.barred.get(place, (0.0, False))
        assert now >= until or not certain, "its breaker is open"
        assert len(self.wire.to(place)) < SLOTS, "two owners of a slot"

    def check(self) -> None:
        for wrong in self.wire.wrong:
            raise wrong
        view, now = self.dispatch.view(), self._loop.now
        assert view.waiting + view.leased + view.done == view.arrived
        assert view.leased == len(self.wire.connections)
        held = Counter(c.seat for c in self.wire.connections)
        for place, (beat, at) in self.heard.items():
            assert self.dispatch.leased_on(beat) == held[place]
            dead = now - at >= SILENCE_S or beat.step_age_s
            assert not dead or not held[place], "it waits for a worker that is dead"
        for job in self.jobs.all():
            check_log(job)

    def check_end(self) -> None:
        view, leasing = self.dispatch.view(), self.dispatch.leases
        assert (view.waiting, view.leased, view.done) == (0, 0, view.arrived)
        assert not self.wire.connections and not leasing.counts
        assert not leasing._leases.trials and not leasing._leases._held
        assert not any(o.trying is not None for o in leasing._breakers._open.values())


def check_log(job: Job) -> None:
    """It ends once, and as its job says."""
    events = job.log.since(job.log.first)
    ends = [event for event in events if isinstance(event, Done | Failed)]
    assert ends == ([] if job.state == "running" else [events[-1]])
    if isinstance(job.log.last, Failed):
        cancelled = job.log.last.code == Cancelled.code
        assert job.state == ("cancelled" if cancelled else "failed")
    elif job.log.last is not None:
        assert job.state == "done"
