"""Where a request goes: a pure decision over the fleet's picture. The branches, in this order:

1. The name must be a name, unambiguous, and not that of a broken file, nor of a model that makes
   vectors where text is wanted.
2. A hive, a worker or a device that is asked for must be there.
3. The least loaded worker that holds the model, fits the wishes, can do what is needed (an adapter,
   sight) and has a free slot: Assign.
4. All of them are full: Wait.
5. One is on its way (starting, or started again after a crash, or only just silent): Wait.
6. An adapter is there only because somebody named it when a worker was started: without such a
   worker, Refuse.
7. A hive has the file, and the projector where pictures are to be seen: Spawn on the one with the
   most room. None has the projector: Refuse.
8. Nobody has it, but a hub may: Download on the hive with the most room.
9. Otherwise Refuse, naming what is known and what to do.

While the fleet is not settled (the queen has only just started), 2 and 6 to 9 say Wait where they
would refuse or download: who is not there may merely not have been heard yet. Spawning need not
wait, for a hive lists its workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rbee import naming
from rbee.contracts.fleet import HiveBeat, WorkerBeat, WorkerProcess
from rbee.errors import HiveNotFound, NoHive, RbeeError, WorkerNotFound
from rbee.queen.fleet import Fleet, Seat, device_fits, seat
from rbee.queen.refusals import (
    blind,
    mute,
    no_adapter,
    no_device,
    no_hive,
    nobody,
    unknown_hive,
    unknown_worker,
    wrong_worker,
)

Why = Literal["busy", "starting", "silent", "settling"]


@dataclass(frozen=True)
class Need:
    """What a request wants of the fleet."""

    model: str
    hive_id: str | None = None
    worker_id: str | None = None
    device: str | None = None
    lora: str | None = None
    """The adapter that the worker must have."""
    sees: bool = False
    """Whether there are pictures to be seen."""
    generates: bool = False
    """Whether text is to be written, which a model made for vectors cannot."""


@dataclass(frozen=True)
class Assign:
    worker: WorkerBeat


@dataclass(frozen=True)
class Wait:
    """`busy`: for a slot; `starting`: for a process on its way; `silent`: for a heartbeat that is
    due; `settling`: for the fleet to make itself known. `starting` says what, and where."""

    why: Why
    model: str = ""
    hive_id: str = ""


@dataclass(frozen=True)
class Spawn:
    """Start a worker for `model` (a canonical id) there."""

    hive: HiveBeat
    model: str
    device: str | None = None


@dataclass(frozen=True)
class Download:
    """Fetch `model` (a name that a hub may know) to there."""

    hive: HiveBeat
    model: str


@dataclass(frozen=True)
class Refuse:
    error: RbeeError


Decision = Assign | Wait | Spawn | Download | Refuse
Leased = Mapping[Seat, int]


def choose(need: Need, fleet: Fleet, leased: Leased) -> Decision:
    """The one decision about a request; `leased` counts the slots taken on each worker."""
    try:
        reference = naming.parse(need.model)
        entry = fleet.entry(need.model)
        _check_wishes(need, fleet)
    except (HiveNotFound, WorkerNotFound, NoHive) as exc:
        return Refuse(exc) if fleet.settled else Wait("settling")
    except RbeeError as exc:
        return Refuse(exc)
    if entry is not None:
        if entry.problem:
            return Refuse(naming.unusable(entry))
        holders = fleet.holders.get(entry.id, ())
        if need.generates and holders and not any(w.generates for w in holders):
            return Refuse(mute(entry.id))
        found = _among_workers(need, fleet, leased, entry.id)
        if found is not None:
            return found
    hives = fleet.hives_named(need.hive_id)
    if need.lora is not None and (entry is not None or reference.downloadable):
        return _absent(no_adapter(need.lora, entry.id if entry else need.model, fleet), fleet)
    if need.worker_id is not None:
        return _absent(wrong_worker(need.worker_id, need.sees, fleet), fleet)
    fitting = [h for h in hives if any(device_fits(d.id, need.device) for d in h.devices)]
    if hives and not fitting:
        return _absent(no_device(need.device, need.hive_id, hives), fleet)
    if entry is not None:
        having = [h for h in fitting if _has(h, entry.id, need.sees)]
        if having:
            return Spawn(_roomiest(having, need.device, entry.size), entry.id, need.device)
        if need.sees:
            return _absent(blind(entry.id), fleet)
    if reference.downloadable and fitting and fleet.settled:
        return Download(_roomiest(fitting, need.device, 0), need.model)
    return _absent(
        nobody(need.model, need.hive_id, fleet, downloadable=reference.downloadable), fleet
    )


def _has(hive: HiveBeat, model: str, sees: bool) -> bool:
    """Whether a worker started there could answer."""
    return any(m.id == model and not m.problem and (m.projector or not sees) for m in hive.models)


def _check_wishes(need: Need, fleet: Fleet) -> None:
    if need.hive_id is not None and not fleet.hives_named(need.hive_id):
        raise no_hive() if not fleet.hives else unknown_hive(need.hive_id, fleet)
    if need.worker_id is not None:
        known = {w.id for w in (*fleet.workers, *fleet.hesitant)}
        known |= {p.worker_id for h in fleet.hives for p in h.workers}
        if need.worker_id not in known:
            raise unknown_worker(need.worker_id, known)


def _among_workers(need: Need, fleet: Fleet, leased: Leased, model: str) -> Assign | Wait | None:
    """Branches 3 to 5; None when no worker holds the model or will soon."""
    hives = None if need.hive_id is None else {h.id for h in fleet.hives_named(need.hive_id)}

    def fits(worker: WorkerBeat | WorkerProcess, worker_id: str, hive_id: str) -> bool:
        return (
            need.worker_id in (None, worker_id)
            and (hives is None or hive_id in hives)
            and device_fits(worker.device, need.device)
            and (need.lora is None or need.lora in worker.lora)
            and (worker.sees or not need.sees)
        )

    holders = [w for w in fleet.holders.get(model, ()) if fits(w, w.id, w.hive_id)]
    free = [w for w in holders if leased.get(seat(w), 0) < w.slots]
    if free:
        return Assign(min(free, key=lambda w: _load(w, leased)))
    if holders:
        return Wait("busy")
    silent = any(w.model == model and fits(w, w.id, w.hive_id) for w in fleet.hesitant)
    for hive in fleet.hives:
        for process in hive.workers:
            if process.model == model and fits(process, process.worker_id, hive.id):
                if process.state in ("starting", "backoff"):
                    return Wait("starting", model, hive.id)
                silent = silent or process.state == "ready"
    return Wait("silent") if silent else None


def _load(worker: WorkerBeat, leased: Leased) -> tuple[float, float, int, str]:
    """The queen's own leases first; then what others ask of it, as it last said."""
    mine = leased.get(seat(worker), 0)
    others = max(0, worker.busy + worker.waiting - mine)
    return mine / worker.slots, others / worker.slots, -worker.slots, worker.id


def _roomiest(hives: Sequence[HiveBeat], device: str | None, size: int) -> HiveBeat:
    """An accelerator that holds the model, else a CPU that does; then memory, then few workers."""

    def room(hive: HiveBeat) -> tuple[int, int, int, str]:
        devices = [d for d in hive.devices if device_fits(d.id, device)]
        best = max(
            ((2 if d.kind != "cpu" else 1) if d.memory_free > size else 0, d.memory_free)
            for d in devices
        )
        return (*best, -len(hive.workers), hive.id)

    return max(hives, key=room)


def _absent(error: RbeeError, fleet: Fleet) -> Refuse | Wait:
    return Refuse(error) if fleet.settled else Wait("settling")
