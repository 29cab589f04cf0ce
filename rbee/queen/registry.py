"""Who is there: the single writer of the fleet, fed by heartbeats alone.

1. A beat is the sender's whole state. One that is not newer than the last of the same life
   (`incarnation`, `seq`) changes nothing.
2. A new life supersedes the one before; beats of a superseded life change nothing, unless its
   successor has fallen silent (then the order of arrival lied). A life that said `stopped` is over.
3. Silence of `beats_missed` intervals, by the queen's own monotonic clock, means dead: nothing is
   sent there, and after `FORGET_S` it is forgotten.
4. A hive's word about its children counts at once: what it calls crashed, or no longer lists, gets
   no requests. So does the relay's: a worker it found dead is suspected until a newer beat, and
   proven to live by the second one, for the first may have been on its way when it died.
5. A worker whose step takes longer than it may is wedged until it shows another step.
6. What the queen slept through is nobody's silence: when she was not asked for `awake_s`, she was
   stopped, or her machine was.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from urllib.parse import urlsplit

from rbee.contracts.fleet import Beat, BeatAck, HiveBeat, HiveStatus, WorkerBeat, WorkerStatus
from rbee.errors import Invalid, Overloaded
from rbee.queen.fleet import Fleet
from rbee.queen.lease import Loss
from rbee.queen.members import B, Member, ended, heard, same
from rbee.queen.picture import draw, valid_until
from rbee.queen.whereabouts import Whereabouts

log = logging.getLogger(__name__)
FORGET_S = 60.0
MAX_HIVES = 4_096
MAX_WORKERS = 32_768
MAX_PAST_LIVES = 8_192
BEATS_PER_S = 500.0
"""What all beats together may cost the queen; in a larger fleet each comes less often."""
PROOF_BEATS = 2
"""Beats by which a suspected worker is proven to live: it sends one at a time."""
OVER = 2**63
"""The `seq` after which nothing of a life counts any more."""


class Registry:
    """All hives and workers. Every method is told the time; none waits."""

    def __init__(
        self,
        started: float,
        *,
        beat_s: float = 1.0,
        beats_missed: int = 4,
        settle_s: float = 3.0,
        hostname: str = "",
        awake_s: float = math.inf,
    ) -> None:
        self.life = secrets.token_hex(8)
        self._beat_s = beat_s
        self._missed = beats_missed
        self._settled_at = started + settle_s
        self._hostname = hostname
        self._awake_s = awake_s
        self._awake_at = started
        self._hives: dict[str, Member[HiveBeat]] = {}
        self._workers: dict[str, Member[WorkerBeat]] = {}
        self._past: OrderedDict[tuple[str, str], int] = OrderedDict()
        """(id, incarnation) of past lives to the last `seq` heard."""
        self._jobs = Whereabouts()
        self._drawn: Fleet | None = None
        self._asked: frozenset[str] = frozenset()
        """Ids of the workers in the picture that was drawn last."""
        self._valid_until = 0.0

    def __repr__(self) -> str:
        return f"<Registry {self.life} {len(self._hives)} hives, {len(self._workers)} workers>"

    def beat(self, beat: Beat, now: float) -> BeatAck:
        """Take a heartbeat. Raises `Invalid` for a URL that leads nowhere, and `Overloaded` when
        there is no room for one more sender."""
        _check_url(beat.url)
        self._awake(now)
        next_s = max(self._beat_s, (len(self._hives) + len(self._workers)) / BEATS_PER_S)
        if isinstance(beat, HiveBeat):
            known = self._hives.get(beat.id)
            if self._take(self._hives, beat, now, next_s, MAX_HIVES) and beat.state != "stopped":
                self._list(known, beat)
        elif self._take(self._workers, beat, now, next_s, MAX_WORKERS):
            self._note(beat)
        return BeatAck(next_s, self.life)

    def _take(
        self, table: dict[str, Member[B]], beat: B, now: float, next_s: float, limit: int
    ) -> bool:
        """Whether the beat was news."""
        known = table.get(beat.id)
        if not self._is_news(known, beat, now):
            return False
        if beat.state == "stopped":
            self._bury(beat, OVER)
            if known is not None and known.beat.incarnation == beat.incarnation:
                del table[beat.id]
                log.info("%s says goodbye", beat.id)
            self._drawn = None
            return True
        if known is None and len(table) >= limit:
            raise Overloaded(f"This queen knows {limit} others already.", retry_after_s=60.0)
        if known is not None and known.beat.incarnation != beat.incarnation:
            self._bury(known.beat, known.beat.seq)
            known = None
        elif known is None:
            log.info("%s is there, at %r", beat.id, beat.url)
        taken = heard(known, beat, now, self._missed * next_s)
        seen = beat.id in self._asked and known is not None and not taken.stuck
        proving = known is not None and known.unproven > 0
        if known is None or not seen or proving or not same(known.beat, beat, len(table)):
            self._drawn = None
        table[beat.id] = taken
        return True

    def _note(self, beat: WorkerBeat) -> None:
        """Note which jobs the worker has, unless another life of it is the one that counts."""
        member = self._workers.get(beat.id)
        if member is None:
            self._jobs.note(beat.id, ())
        elif member.beat is beat:
            self._jobs.note(beat.id, (*beat.jobs, *beat.kept))

    def _list(self, known: Member[HiveBeat] | None, beat: HiveBeat) -> None:
        """Note of the hive's workers who is no longer listed by the same life of it."""
        before = set[str]()
        if known is not None and known.beat.incarnation == beat.incarnation:
            before = {p.worker_id for p in known.beat.workers}
        now = {p.worker_id for p in beat.workers}
        for name in before ^ now:
            member = self._workers.get(name)
            if member is not None and member.beat.hive_id == beat.id:
                member.dropped = name not in now

    def _is_news(self, known: Member[B] | None, beat: B, now: float) -> bool:
        if known is not None and known.beat.incarnation == beat.incarnation:
            return beat.seq > known.beat.seq
        ended = self._past.get((beat.id, beat.incarnation))
        if ended is None:
            return True
        return beat.seq > ended and (known is None or not known.alive(now))

    def _bury(self, beat: Beat, seq: int) -> None:
        key = (beat.id, beat.incarnation)
        self._past[key] = max(seq, self._past.get(key, seq))
        self._past.move_to_end(key)
        while len(self._past) > MAX_PAST_LIVES:
            self._past.popitem(last=False)

    def suspect(self, worker_id: str, incarnation: str) -> None:
        """The relay found this worker dead: send nothing there before it is heard again."""
        known = self._workers.get(worker_id)
        if known is not None and known.beat.incarnation == incarnation:
            known.suspect, known.unproven = True, PROOF_BEATS
            self._drawn = None

    def lost(self, worker: WorkerBeat, now: float) -> Loss | None:
        """Why this life of a worker cannot be computing any more; None while it may well be. That
        somebody suspects it is no reason."""
        self._awake(now)
        member = self._workers.get(worker.id)
        if member is None or member.beat.incarnation != worker.incarnation:
            return self._departed(worker, member)
        if not member.alive(now):
            return Loss("silent", f"it has been silent for {now - member.heard:.1f} s")
        if member.stuck:
            beat = member.beat
            age, limit = f"{beat.step_age_s:.1f} s", f"{beat.step_limit_s:.1f} s"
            return Loss("wedged", f"a step of it ran for {age}, and {limit} is the limit")
        hive = self._hives.get(member.beat.hive_id)
        return ended(hive, member) if hive is not None and hive.alive(now) else None

    def _departed(self, worker: WorkerBeat, member: Member[WorkerBeat] | None) -> Loss:
        if self._past.get((worker.id, worker.incarnation)) == OVER:
            return Loss("ended", "it said goodbye")
        if member is None:
            return Loss("silent", "it has been silent for long")
        return Loss("crashed", "it was started anew")

    def suspected(self, worker: WorkerBeat) -> bool:
        """Whether this life was suspected, and has not proven since that it lives."""
        known = self._workers.get(worker.id)
        same_life = known is not None and known.beat.incarnation == worker.incarnation
        return known is not None and same_life and known.unproven > 0

    def holders(self, job_id: str, now: float) -> list[WorkerBeat]:
        """All living workers that have the job, also those that drain; who named it last first."""
        self._awake(now)
        members = [self._workers[name] for name in self._jobs.of(job_id)]
        return [m.beat for m in members if m.alive(now) and not m.stuck]

    def jobs(self, now: float) -> Mapping[str, WorkerBeat]:
        """Every job that a living worker is at work on."""
        return {
            job: worker
            for job in self._jobs
            for worker in reversed(self.holders(job, now))  # the first of them remains
            if job in worker.jobs
        }

    def expire(self, now: float) -> None:
        """Forget those who have been dead for long."""
        self._awake(now)
        self._forget(self._hives, now)
        self._forget(self._workers, now)

    def _forget(self, table: dict[str, Member[B]], now: float) -> None:
        for member in list(table.values()):
            if now - member.silent_at > FORGET_S:
                log.info("%s is forgotten", member.beat.id)
                self._bury(member.beat, member.beat.seq)
                del table[member.beat.id]
                if isinstance(member.beat, WorkerBeat):
                    self._jobs.note(member.beat.id, ())
                self._drawn = None

    def view(self, now: float) -> Fleet:
        """The fleet as it may be scheduled on; the same object until something changes."""
        self._awake(now)
        if self._drawn is None or now >= self._valid_until:
            self._drawn = self._draw(now)
        return self._drawn

    def _draw(self, now: float) -> Fleet:
        settled = now >= self._settled_at
        drawn = draw(self._hives, self._workers, now, settled=settled, hostname=self._hostname)
        self._asked = frozenset(worker.id for worker in drawn.workers)
        ends = valid_until(self._hives, self._workers, now)
        self._valid_until = now + FORGET_S if ends is None else ends
        if not settled:
            self._valid_until = min(self._valid_until, self._settled_at)
        return drawn

    def hives(self, now: float) -> list[HiveStatus]:
        return [
            HiveStatus(hive=m.beat, age_s=round(now - m.heard, 3), alive=m.alive(now))
            for m in self._hives.values()
        ]

    def workers(self, now: float) -> list[WorkerStatus]:
        """All known; `leased` is the dispatch's to fill in."""
        return [
            WorkerStatus(worker=m.beat, age_s=round(now - m.heard, 3), alive=m.alive(now), leased=0)
            for m in self._workers.values()
        ]

    def _awake(self, now: float) -> None:
        """Told every time that anybody asks: a long pause in that is the queen's own."""
        slept = now - self._awake_at
        self._awake_at = now
        if slept <= self._awake_s:
            return
        log.warning("the queen was stopped for %.1f s; nobody's silence in it counts", slept)
        for hive in self._hives.values():
            hive.excuse(slept)
        for worker in self._workers.values():
            worker.excuse(slept)
        self._drawn = None


def _check_url(url: str) -> None:
    """Refused where it comes in: every picture of the fleet is drawn from it."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a broken IPv6 address, a port that is no number
        usable = False
    if not usable:
        raise Invalid(f"{url[:80]!r} is not the address of a server.", path="$.url")
