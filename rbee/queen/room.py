"""Where a worker could be started: which hives have the file, and which has the most room. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rbee.config import context_of
from rbee.contracts.fleet import HiveBeat, ModelEntry
from rbee.naming import device_fits

MIN_CONTEXT = 64
_CLOSED = frozenset({"draining", "stopping", "stopped"})


def takes_work(hive: HiveBeat) -> bool:
    """A hive that drains or ends starts no worker and fetches no file."""
    return hive.state not in _CLOSED


def has(hive: HiveBeat, model: str, sees: bool) -> bool:
    """Whether a worker started there could answer."""
    return any(m.id == model and not m.problem and (m.projector or not sees) for m in hive.models)


def copy_of(hive: HiveBeat, sha256: str, sees: bool) -> ModelEntry | None:
    """The hive's file of just this content. What a hive has not read yet is not known to be it."""
    for entry in hive.models:
        if entry.sha256 == sha256 and not entry.problem and (entry.projector or not sees):
            return entry
    return None


def roomiest(hives: Sequence[HiveBeat], device: str | None, size: int) -> HiveBeat:
    """An accelerator that holds the model, else a CPU that does; then memory, then few workers."""

    def room(hive: HiveBeat) -> tuple[int, int, int, str]:
        devices = [d for d in hive.devices if device_fits(d.id, device)]
        best = max(
            ((2 if d.kind != "cpu" else 1) if d.memory_free > size else 0, d.memory_free)
            for d in devices
        )
        return (*best, -len(hive.workers), hive.id)

    return max(hives, key=room)


def context_for(needed: int, entry: ModelEntry) -> int | None:
    """What to start a worker with so that `needed` tokens fit, and what others will expect of it
    does too. None: whatever the hive thinks right."""
    return max(MIN_CONTEXT, needed, context_of(entry.context)) if needed else None
