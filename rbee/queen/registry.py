"""Who is there: the single writer of the fleet, fed by heartbeats alone.

1. A beat is the sender's whole state. One that is not newer than the last of the same life
   (`incarnation`, `seq`) changes nothing.
2. A new life supersedes the one before; beats of a superseded life change nothing, unless its
   successor has fallen silent (then the order of arrival lied). A life that said `stopped` is over.
3. Silence of `beats_missed` intervals, by the queen's own monotonic clock, means dead: nothing is
   sent there, and after `FORGET_S` it is forgotten.
4. A hive's word about its children counts at once: what it calls crashed, or no longer lists, gets
   no requests. So does the relay's: a worker it found dead is suspected until a newer beat.
"""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from rbee.contracts.fleet import Beat, BeatAck, HiveBeat, HiveStatus, WorkerBeat, WorkerStatus
from rbee.errors import Invalid, Overloaded
from rbee.queen.fleet import Fleet
from rbee.wire.guard import is_loopback

log = logging.getLogger(__name__)
FORGET_S = 60.0
MAX_HIVES = 4_096
MAX_WORKERS = 32_768
MAX_PAST_LIVES = 8_192
BEATS_PER_S = 500.0
"""What all beats together may cost the queen; in a larger fleet each comes less often."""
OVER = 2**63
"""The `seq` after which nothing of a life counts any more."""
B = TypeVar("B", HiveBeat, WorkerBeat)
LARGE = 512
_DECISIVE = ("incarnation", "state", "model", "url", "hive_id", "device", "slots")
_DOWN = frozenset({"backoff", "failed", "stopping", "stopped"})


@dataclass
class Member(Generic[B]):
    """A hive or a worker, as last heard."""

    beat: B
    first: float
    """When this life was first heard."""
    heard: float
    next_s: float
    suspect: bool = False


class Registry:
    """All hives and workers. Every method is told the time; none waits."""

    def __init__(
        self,
        started: float,
        *,
        beat_s: float = 2.0,
        beats_missed: int = 3,
        settle_s: float = 3.0,
        hostname: str = "",
    ) -> None:
        self.life = secrets.token_hex(8)
        self._beat_s = beat_s
        self._missed = beats_missed
        self._settled_at = started + settle_s
        self._hostname = hostname
        self._hives: dict[str, Member[HiveBeat]] = {}
        self._workers: dict[str, Member[WorkerBeat]] = {}
        self._past: OrderedDict[tuple[str, str], int] = OrderedDict()
        """(id, incarnation) of past lives to the last `seq` heard."""
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
        next_s = max(self._beat_s, (len(self._hives) + len(self._workers)) / BEATS_PER_S)
        if isinstance(beat, HiveBeat):
            self._take(self._hives, beat, now, next_s, MAX_HIVES)
        else:
            self._take(self._workers, beat, now, next_s, MAX_WORKERS)
        return BeatAck(next_s, self.life)

    def _take(
        self, table: dict[str, Member[B]], beat: B, now: float, next_s: float, limit: int
    ) -> None:
        known = table.get(beat.id)
        if not self._is_news(known, beat, now):
            return
        if beat.state == "stopped":
            self._bury(beat, OVER)
            if known is not None and known.beat.incarnation == beat.incarnation:
                del table[beat.id]
                log.info("%s says goodbye", beat.id)
            self._drawn = None
            return
        if known is None and len(table) >= limit:
            raise Overloaded(f"This queen knows {limit} others already.", retry_after_s=60.0)
        first = now
        if known is not None and known.beat.incarnation != beat.incarnation:
            self._bury(known.beat, known.beat.seq)
        elif known is not None:
            first = known.first
        else:
            log.info("%s is there, at %r", beat.id, beat.url)
        if beat.id not in self._asked or known is None or not _same(known.beat, beat, len(table)):
            self._drawn = None
        table[beat.id] = Member(beat, first, now, next_s)

    def _is_news(self, known: Member[B] | None, beat: B, now: float) -> bool:
        if known is not None and known.beat.incarnation == beat.incarnation:
            return beat.seq > known.beat.seq
        ended = self._past.get((beat.id, beat.incarnation))
        if ended is None:
            return True
        return beat.seq > ended and (known is None or not self._alive(known, now))

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
            known.suspect = True
            self._drawn = None

    def expire(self, now: float) -> None:
        """Forget those who have been dead for long."""
        self._forget(self._hives, now)
        self._forget(self._workers, now)

    def _forget(self, table: dict[str, Member[B]], now: float) -> None:
        for member in list(table.values()):
            if now - self._silent_at(member) > FORGET_S:
                log.info("%s is forgotten", member.beat.id)
                self._bury(member.beat, member.beat.seq)
                del table[member.beat.id]
                self._drawn = None

    def view(self, now: float) -> Fleet:
        """The fleet as it may be scheduled on; the same object until something changes."""
        if self._drawn is None or now >= self._valid_until:
            self._drawn = self._draw(now)
        return self._drawn

    def hives(self, now: float) -> list[HiveStatus]:
        return [
            HiveStatus(hive=m.beat, age_s=round(now - m.heard, 3), alive=self._alive(m, now))
            for m in self._hives.values()
        ]

    def workers(self, now: float) -> list[WorkerStatus]:
        """All known; `leased` is the dispatch's to fill in."""
        return [
            WorkerStatus(
                worker=m.beat, age_s=round(now - m.heard, 3), alive=self._alive(m, now), leased=0
            )
            for m in self._workers.values()
        ]

    def _draw(self, now: float) -> Fleet:
        hives = [m.beat for m in self._hives.values() if self._alive(m, now)]
        living = [m for m in self._workers.values() if self._alive(m, now)]
        may = [m for m in living if self._may_be_asked(m, now)]
        asked = self._asked = frozenset(m.beat.id for m in may)
        ends = [self._silent_at(m) for m in self._hives.values() if self._alive(m, now)]
        ends += [self._silent_at(m) for m in living]
        if now < self._settled_at:
            ends.append(self._settled_at)
        self._valid_until = min(ends, default=now + FORGET_S)
        return Fleet(
            hives=hives,
            workers=[m.beat for m in may],
            hesitant=[
                m.beat for m in living if m.beat.id not in asked and self._may_return(m, now)
            ],
            settled=now >= self._settled_at,
            local=frozenset(hive.id for hive in hives if self._is_local(hive)),
        )

    def _silent_at(self, member: Member[B]) -> float:
        return member.heard + self._missed * member.next_s

    def _alive(self, member: Member[B], now: float) -> bool:
        return now < self._silent_at(member)

    def _may_be_asked(self, member: Member[WorkerBeat], now: float) -> bool:
        if member.suspect or member.beat.state != "ready":
            return False
        hive = self._hives.get(member.beat.hive_id)
        return hive is None or not self._alive(hive, now) or not _contradicts(hive, member)

    def _may_return(self, member: Member[WorkerBeat], now: float) -> bool:
        """Worth waiting for: not what its hive has given up, or knows nothing of."""
        if member.beat.state not in ("starting", "ready"):
            return False
        hive = self._hives.get(member.beat.hive_id)
        if hive is None or not self._alive(hive, now) or not _contradicts(hive, member):
            return True
        states = [p.state for p in hive.beat.workers if p.worker_id == member.beat.id]
        return any(state in ("starting", "backoff") for state in states)

    def _is_local(self, hive: HiveBeat) -> bool:
        host = urlsplit(hive.url).hostname or ""
        return is_loopback(host) or (bool(self._hostname) and hive.hostname == self._hostname)


def _check_url(url: str) -> None:
    """Refused where it comes in: every picture of the fleet is drawn from it."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a broken IPv6 address, a port that is no number
        usable = False
    if not usable:
        raise Invalid(f"{url[:80]!r} is not the address of a server.", path="$.url")


def _contradicts(hive: Member[HiveBeat], worker: Member[WorkerBeat]) -> bool:
    """Whether the hive's last word denies that this life of the worker runs."""
    for process in hive.beat.workers:
        if process.worker_id == worker.beat.id:
            if process.state == "starting":
                return hive.heard > worker.heard  # the life before this one
            return process.state in _DOWN
    return hive.heard > worker.first


def _same(old: Beat, new: Beat, members: int) -> bool:
    """Whether the scheduler would see no difference. In a large fleet what a worker does for others
    may be as old as the picture: drawing it anew for every beat would cost more."""
    if isinstance(old, HiveBeat) or isinstance(new, HiveBeat):
        return False
    fields = _DECISIVE if members > LARGE else (*_DECISIVE, "busy", "waiting")
    return all(getattr(old, field) == getattr(new, field) for field in fields)
