"""One hive or worker as last heard, and what its word and its hive's word come to. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from rbee.contracts.fleet import HiveBeat, WorkerBeat, WorkerProcess
from rbee.queen.lease import Loss, LossKind

B = TypeVar("B", HiveBeat, WorkerBeat)
LARGE = 512
_DECISIVE = (
    "incarnation",
    "state",
    "model",
    "sha256",
    "url",
    "hive_id",
    "device",
    "slots",
    "context",
)
_CLOSED = frozenset({"draining", "backoff", "failed", "stopping", "stopped"})
"""States of a child, as its hive tells them, in which nothing new is sent to it."""
_ENDED = frozenset({"backoff", "failed", "stopped"})
"""Those in which the process is gone; one that stops may still finish what it has."""


@dataclass
class Member(Generic[B]):
    """A hive or a worker, as last heard."""

    beat: B
    first: float
    """When this life was first heard."""
    silent_at: float
    """When it will have been silent for too long."""
    heard: float
    suspect: bool = False
    unproven: int = 0
    """Beats that are still to come before it is certain that one who was suspected lives."""
    stuck: bool = False
    """A worker whose step took too long, and that has not shown another since."""
    dropped: bool = False
    """A worker that its hive listed, and no longer does."""

    def alive(self, now: float) -> bool:
        return now < self.silent_at

    def excuse(self, seconds: float) -> None:
        """Nobody could be heard for so long. What came before what stays as it was."""
        self.first += seconds
        self.heard += seconds
        self.silent_at += seconds


def heard(known: Member[B] | None, beat: B, now: float, patience_s: float) -> Member[B]:
    """The member after a new beat; `known` is what was known of the same life."""
    if known is None:
        return Member(beat, now, now + patience_s, now, stuck=_stuck(None, beat))
    return Member(
        beat,
        known.first,
        now + patience_s,
        now,
        unproven=max(0, known.unproven - 1),
        stuck=_stuck(known, beat),
        dropped=known.dropped,
    )


def denies(hive: Member[HiveBeat], worker: Member[WorkerBeat]) -> bool:
    """Whether the hive's last word is against sending anything to this life of the worker."""
    process = listed(hive.beat, worker.beat.id)
    if process is None:
        return _unlisted(hive, worker)
    if process.state == "starting":
        return _another(process, worker.beat, hive.heard > worker.heard)
    return process.state in _CLOSED


def ended(hive: Member[HiveBeat], worker: Member[WorkerBeat]) -> Loss | None:
    """What the hive's last word says of this life of the worker's having ended. One that is
    starting is only taken for another life where the process ids say so: it may be this one,
    quicker with its own first beat than the hive with the news of it."""
    process = listed(hive.beat, worker.beat.id)
    if process is None:
        gone = _unlisted(hive, worker)
        return Loss("ended", "its hive does not have it any more") if gone else None
    if process.state == "starting" and _another(process, worker.beat, False):
        return Loss("crashed", "its hive is starting it anew")
    if process.state in _ENDED:
        why = f": {process.reason}" if process.reason else ""
        kind: LossKind = "ended" if process.state == "stopped" else "crashed"
        return Loss(kind, f"its hive says {process.state}{why}")
    return None


def _stuck(known: Member[B] | None, beat: B) -> bool:
    """Whether a worker is wedged, by its newest beat and what was known of the same life."""
    if isinstance(beat, HiveBeat):
        return False
    if beat.step_limit_s > 0 and beat.step_age_s > beat.step_limit_s:
        return True
    before = None if known is None or isinstance(known.beat, HiveBeat) else known.beat
    return known is not None and known.stuck and before is not None and beat.step <= before.step


def listed(hive: HiveBeat, worker_id: str) -> WorkerProcess | None:
    return next((p for p in hive.workers if p.worker_id == worker_id), None)


def _unlisted(hive: Member[HiveBeat], worker: Member[WorkerBeat]) -> bool:
    """Silence about a worker counts when this life of the hive should know it. One that was
    restarted does not at first know the workers that it will own again."""
    return worker.dropped or (hive.first <= worker.first and hive.heard > worker.first)


def _another(process: WorkerProcess, beat: WorkerBeat, unknown: bool) -> bool:
    """Whether the hive means another process than the one that sent the beat."""
    if process.pid is None or beat.pid is None:
        return unknown
    return process.pid != beat.pid


def same(old: HiveBeat | WorkerBeat, new: HiveBeat | WorkerBeat, members: int) -> bool:
    """Whether the scheduler would see no difference. In a large fleet what a worker does for others
    may be as old as the picture: drawing it anew for every beat would cost more."""
    if isinstance(old, HiveBeat) or isinstance(new, HiveBeat):
        return False
    fields = _DECISIVE if members > LARGE else (*_DECISIVE, "busy", "waiting")
    return all(getattr(old, field) == getattr(new, field) for field in fields)
