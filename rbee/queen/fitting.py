"""Which workers fit a request, which of them is least loaded, and which may be there soon. Pure."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping

from rbee import naming
from rbee.contracts.fleet import ModelEntry, WorkerBeat, WorkerProcess
from rbee.errors import RbeeError
from rbee.naming import device_fits
from rbee.queen.decisions import Assign, Need, Wait
from rbee.queen.fleet import Fleet, Seat, seat

Leased = Mapping[Seat, int]
"""Slots taken on each worker."""
Barred = Container[Seat]
"""Workers that are left alone for now, or for such a request."""


def among_workers(
    need: Need, fleet: Fleet, leased: Leased, barred: Barred, holders: Iterable[WorkerBeat]
) -> Assign | Wait | None:
    """Branches 3 and 4; None when no worker that may be asked fits."""
    hives = _allowed(need, fleet)
    able = [w for w in holders if _fits(need, hives, w, w.id, w.hive_id)]
    free = [w for w in able if leased.get(seat(w), 0) < w.slots and seat(w) not in barred]
    if free:
        return Assign(min(free, key=lambda w: (w.id == need.declined_by, *_load(w, leased))))
    return Wait("busy") if able else None


def coming(
    need: Need, fleet: Fleet, means: Callable[[WorkerBeat | WorkerProcess], bool]
) -> Wait | None:
    """Branch 5; None when no worker that holds the model will be there soon."""
    hives = _allowed(need, fleet)
    silent = any(means(w) and _fits(need, hives, w, w.id, w.hive_id) for w in fleet.hesitant)
    for hive in fleet.hives:
        for process in hive.workers:
            if means(process) and _fits(need, hives, process, process.worker_id, hive.id):
                if process.state in ("starting", "backoff"):
                    return Wait("starting", process.model, hive.id)
                silent = silent or process.state == "ready"
    return Wait("silent") if silent else None


def late_for(need: Need, fleet: Fleet) -> bool:
    """Whether a worker that fits has only just fallen silent. Its hive may have, too."""
    return any(
        _is_meant(w, need) and need.hive_id in (None, w.hive_id) and _fits(need, None, w, w.id, "")
        for w in fleet.silent
    )


def _is_meant(worker: WorkerBeat, need: Need) -> bool:
    if need.sha256:
        return worker.sha256 == need.sha256
    entry = ModelEntry(id=worker.model, file="", size=0)
    try:
        return naming.matches(naming.parse(need.model), entry)
    except RbeeError:
        return False


def _allowed(need: Need, fleet: Fleet) -> frozenset[str] | None:
    """The hives that the request allows; None: all of them."""
    if need.hive_id is None:
        return None
    return frozenset(hive.id for hive in fleet.hives_named(need.hive_id))


def _fits(
    need: Need,
    hives: frozenset[str] | None,
    worker: WorkerBeat | WorkerProcess,
    worker_id: str,
    hive_id: str,
) -> bool:
    unknown = isinstance(worker, WorkerProcess) and not worker.context
    return (
        need.worker_id in (None, worker_id)
        and (hives is None or hive_id in hives)
        and device_fits(worker.device, need.device)
        and (need.lora is None or need.lora in worker.lora)
        and (worker.sees or not need.sees)
        and (worker.context >= need.context or unknown)
    )


def _load(worker: WorkerBeat, leased: Leased) -> tuple[float, float, int, str]:
    """The queen's own leases first; then what others ask of it, as it last said."""
    mine = leased.get(seat(worker), 0)
    others = max(0, worker.busy + worker.waiting - mine)
    return mine / worker.slots, others / worker.slots, -worker.slots, worker.id
