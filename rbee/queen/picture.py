"""The fleet as it may be scheduled on, drawn from what the registry knows. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from rbee.contracts.fleet import HiveBeat, WorkerBeat
from rbee.queen.fleet import Fleet
from rbee.queen.members import Member, denies, listed
from rbee.wire.guard import is_loopback

Hives = Mapping[str, Member[HiveBeat]]
Workers = Mapping[str, Member[WorkerBeat]]


RETURN_S = 15.0
"""For how long one that has fallen silent is thought to be late, and not gone."""


def draw(hives: Hives, workers: Workers, now: float, *, settled: bool, hostname: str) -> Fleet:
    there = [m.beat for m in hives.values() if m.alive(now)]
    living = [m for m in workers.values() if m.alive(now)]
    asked = {m.beat.id: m.beat for m in living if _may_be_asked(m, hives, now)}
    others = [m for m in living if m.beat.id not in asked]
    return Fleet(
        hives=there,
        workers=list(asked.values()),
        hesitant=[m.beat for m in others if _may_return(m, hives, now)],
        missing=[m.beat for m in hives.values() if not m.alive(now)],
        silent=[m.beat for m in workers.values() if _may_be_late(m, hives, now)],
        settled=settled,
        local=frozenset(hive.id for hive in there if _is_local(hive, hostname)),
    )


def valid_until(hives: Hives, workers: Workers, now: float) -> float | None:
    """When the next of those who live would be silent for too long, or of the silent be gone."""
    ends = [m.silent_at for m in hives.values()]
    ends += [m.silent_at for m in workers.values()]
    ends += [m.silent_at + RETURN_S for m in workers.values()]
    return min((end for end in ends if end > now), default=None)


def _denied_by(member: Member[WorkerBeat], hives: Hives, now: float) -> HiveBeat | None:
    """The worker's hive, when its word counts and is against it."""
    hive = hives.get(member.beat.hive_id)
    against = hive is not None and hive.alive(now) and denies(hive, member)
    return hive.beat if hive is not None and against else None


def _may_be_asked(member: Member[WorkerBeat], hives: Hives, now: float) -> bool:
    if member.suspect or member.stuck or member.beat.state != "ready":
        return False
    return _denied_by(member, hives, now) is None


def _may_be_late(member: Member[WorkerBeat], hives: Hives, now: float) -> bool:
    """One whose connection broke as well is not late, it is dead."""
    if member.alive(now) or now >= member.silent_at + RETURN_S:
        return False
    return _may_be_asked(member, hives, now)


def _may_return(member: Member[WorkerBeat], hives: Hives, now: float) -> bool:
    """Worth waiting for: not what its hive has given up, or knows nothing of."""
    if member.beat.state not in ("starting", "ready"):
        return False
    hive = _denied_by(member, hives, now)
    process = None if hive is None else listed(hive, member.beat.id)
    return hive is None or (process is not None and process.state in ("starting", "backoff"))


def _is_local(hive: HiveBeat, hostname: str) -> bool:
    host = urlsplit(hive.url).hostname or ""
    return is_loopback(host) or (bool(hostname) and hive.hostname == hostname)
