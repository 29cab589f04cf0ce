"""The registry under a network that delays, repeats, reorders and loses what hives and workers of
many lives say, while its own queen sleeps at times.

Beside it stands what each life last said, when that came, and what follows from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rbee.contracts.fleet import Beat, HiveBeat, WorkerBeat
from rbee.queen.registry import FORGET_S, PROOF_BEATS, Registry
from tests.queen.fleets import hive, process, worker

BEAT_S, MISSED, AWAKE_S, TICK_S = 2.0, 3, 1.0, 0.25
SILENCE_S = BEAT_S * MISSED
HIVE, WORKERS, JOBS = "h", ("a", "b"), ("j1", "j2")
CLOSED = ("draining", "backoff", "failed", "stopping", "stopped")
ENDED = {"backoff": "crashed", "failed": "crashed", "stopped": "ended"}

ids = st.sampled_from(WORKERS)
jobs = st.lists(st.sampled_from(JOBS), max_size=2, unique=True)
states = st.sampled_from(("ready",) * 6 + ("draining", "stopped"))
rarely = st.sampled_from((False, False, True))
children = st.dictionaries(ids, st.sampled_from(("ready", "ready", "starting", *CLOSED)))


@dataclass(eq=False)
class Life:
    """One process, and what came of it so far."""

    name: str
    incarnation: str
    hive_id: str = ""
    sent: int = 0
    told: Beat | None = None
    """The newest beat that came and counted."""
    since: float = 0.0
    """When it became the life of that name that counts."""
    heard: float = 0.0
    over: bool = False
    """It was heard to say goodbye."""
    suspect: bool = False
    doubts: int = 0
    """Beats that it owes since it was suspected."""
    dropped: bool = False
    """Its hive listed it, and no longer does."""

    @property
    def beat(self) -> WorkerBeat:
        assert isinstance(self.told, WorkerBeat)
        return self.told

    @property
    def stuck(self) -> bool:
        return self.beat.step_age_s > 0

    @property
    def listed(self) -> dict[str, str]:
        """A hive's children, and their states."""
        assert isinstance(self.told, HiveBeat)
        return {child.worker_id: child.state for child in self.told.workers}

    def alive(self, now: float) -> bool:
        return now - self.heard < SILENCE_S

    def begin_to_count(self, now: float) -> None:
        self.since, self.dropped, self.suspect, self.doubts = now, False, False, 0


class Network(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.now = 100.0
        self.registry = Registry(self.now, beat_s=BEAT_S, beats_missed=MISSED, awake_s=AWAKE_S)
        self.sent: list[Beat] = []
        self.lives: dict[str, Life] = {}
        self.running: dict[str, Life] = {}
        """By name, whether the queen knows of it or not."""
        self.counting: dict[str, Life] = {}
        """By name: the life that the queen goes by."""
        for name in (HIVE, *WORKERS):
            self.begin(name, False)

    @rule(name=st.sampled_from((*WORKERS, HIVE)), alone=rarely)
    def begin(self, name: str, alone: bool) -> None:
        incarnation = str(len(self.lives) + 1)
        life = Life(name, incarnation, "" if alone or name == HIVE else HIVE)
        self.lives[incarnation] = self.running[name] = life

    @rule(name=ids, state=states, jobs=jobs, kept=jobs, wedged=rarely, late=rarely)
    def worker_sends(
        self, name: str, state: str, jobs: list[str], kept: list[str], wedged: bool, late: bool
    ) -> None:
        more = {"step_age_s": 3.0, "step_limit_s": 2.0} if wedged else {}
        self._send(name, late, worker, state=state, jobs=jobs, kept=kept, **more)

    @rule(state=states, children=children, late=rarely)
    def hive_sends(self, state: str, children: dict[str, str], late: bool) -> None:
        processes = [process(name, state=state) for name, state in children.items()]
        self._send(HIVE, late, hive, state=state, workers=processes)

    def _send(self, name: str, late: bool, made: Any, **more: Any) -> None:
        life = self.running.get(name)
        self.now += TICK_S
        if life is None:
            return
        life.sent += 1
        if name != HIVE:
            more |= {"hive_id": life.hive_id, "step": life.sent}
        beat = made(name, life.incarnation, life.sent, **more)
        if more["state"] == "stopped":
            del self.running[name]
        if late:
            self.sent.append(beat)
        else:
            self._arrive(beat)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), keep=st.booleans())
    def deliver(self, data: st.DataObject, keep: bool) -> None:
        beat = data.draw(st.sampled_from(self.sent))
        if not keep:
            self.sent.remove(beat)
        self._arrive(beat)

    def _arrive(self, beat: Beat) -> None:
        self.registry.beat(beat, self.now)
        life = self.lives[beat.incarnation]
        if self._counts(life, beat):
            self._take(life, beat)

    def _counts(self, life: Life, beat: Beat) -> bool:
        """Only what is newer than all before it, of a life that is not over; and of one that was
        superseded only while its successor is silent."""
        if life.over or (life.told is not None and beat.seq <= life.told.seq):
            return False
        other = self.counting.get(life.name)
        return other in (None, life) or life.told is None or not other.alive(self.now)

    def _take(self, life: Life, beat: Beat) -> None:
        before = self.counting.get(life.name)
        if before is not life:
            life.begin_to_count(self.now)
        had = before.listed if before is life and isinstance(beat, HiveBeat) else {}
        life.told, life.heard, life.suspect = beat, self.now, False
        life.doubts = max(0, life.doubts - 1)
        if beat.state == "stopped":
            life.over = True
            if before is life:
                del self.counting[life.name]
            return
        self.counting[life.name] = life
        for child in self._children() if isinstance(beat, HiveBeat) else ():
            if (child.name in had) != (child.name in life.listed):
                child.dropped = child.name in had

    def _children(self) -> Iterator[Life]:
        return (life for life in self.counting.values() if life.hive_id == HIVE)

    @rule(name=ids)
    def suspect(self, name: str) -> None:
        life = self.counting.get(name)
        if life is not None:
            self.registry.suspect(name, life.incarnation)
            life.suspect, life.doubts = True, PROOF_BEATS

    @rule(seconds=st.sampled_from((0.5, 1.0, SILENCE_S, FORGET_S + SILENCE_S)))
    def wait(self, seconds: float) -> None:
        ends = self.now + seconds
        while self.now < ends:
            self.now += TICK_S
            self.registry.expire(self.now)
        for name, life in list(self.counting.items()):
            if self.now - life.heard - SILENCE_S > FORGET_S:
                del self.counting[name]

    @rule(seconds=st.sampled_from((SILENCE_S, 1_000.0)), asks=st.sampled_from((0, 1, 2, 3)))
    def sleep(self, seconds: float, asks: int) -> None:
        """The queen is stopped; then somebody asks her something. Nobody's silence counts."""
        self.now += seconds
        for life in self.lives.values():
            life.heard, life.since = life.heard + seconds, life.since + seconds
        checks = (self.who_is_asked, self.who_is_lost, self.who_has_which_job, lambda: None)
        checks[asks]()

    def _hive_of(self, life: Life) -> Life | None:
        """Whose word of this life counts."""
        found = self.counting.get(life.hive_id)
        return found if found is not None and found.alive(self.now) else None

    def _unlisted(self, hive: Life, life: Life) -> bool:
        """That it does not list the life says something, if it should know it."""
        return life.dropped or hive.since <= life.since < hive.heard

    def _denied(self, life: Life) -> bool:
        hive = self._hive_of(life)
        if hive is None:
            return False
        state = hive.listed.get(life.name)
        if state is None:
            return self._unlisted(hive, life)
        return state in CLOSED or (state == "starting" and hive.heard > life.heard)

    def _loss(self, life: Life) -> str:
        """Why it cannot be computing any more; empty while it may be."""
        other = self.counting.get(life.name)
        if life.over:
            return "ended"
        if other is not life:
            return "silent" if other is None else "crashed"
        if not life.alive(self.now):
            return "silent"
        if life.stuck:
            return "wedged"
        hive = self._hive_of(life)
        if hive is None:
            return ""
        state = hive.listed.get(life.name)
        if state is None:
            return "ended" if self._unlisted(hive, life) else ""
        return ENDED.get(state, "")

    def _well(self) -> list[Life]:
        """Workers that live, and get on."""
        found = [life for life in self.counting.values() if life.name != HIVE]
        return [life for life in found if life.alive(self.now) and not life.stuck]

    @invariant()
    def who_is_asked(self) -> None:
        """Those of whom nothing is known that speaks against it; nobody else, and no other life."""
        asked = {(w.id, w.incarnation) for w in self.registry.view(self.now).workers}
        assert asked == {
            (life.name, life.incarnation)
            for life in self._well()
            if life.beat.state == "ready" and not life.suspect and not self._denied(life)
        }

    @invariant()
    def who_is_lost(self) -> None:
        for life in self.lives.values():
            if life.name != HIVE and life.told is not None:
                loss = self.registry.lost(life.beat, self.now)
                assert (loss.kind if loss is not None else "") == self._loss(life)
                doubts = self.counting.get(life.name) is life and life.doubts > 0
                assert self.registry.suspected(life.beat) == doubts

    @invariant()
    def who_has_which_job(self) -> None:
        """No job is lost, and none is looked for where it is not."""
        well = self._well()
        for job in JOBS:
            having = {life.name for life in well if job in (*life.beat.jobs, *life.beat.kept)}
            assert {w.id for w in self.registry.holders(job, self.now)} == having
        writing = {job for life in well for job in life.beat.jobs}
        found = self.registry.jobs(self.now)
        assert found.keys() == writing
        assert all(job in beat.jobs for job, beat in found.items())


TestNetwork = Network.TestCase
TestNetwork.settings = settings(max_examples=250, stateful_step_count=40, deadline=None)
