"""Where a request goes: a pure decision over the fleet's picture. The branches, in this order:

1. The name must be a name, unambiguous, and not that of a broken file.
2. A hive, a worker or a device that is asked for must be there.
3. The least loaded worker that holds the model, fits the wishes and has a free slot: Assign.
4. All of them are full: Wait.
5. One is on its way (starting, or started again after a crash, or only just silent): Wait.
6. A hive has the file: Spawn on the one with the most room.
7. Nobody has it, but a hub may: Download on the hive with the most room.
8. Otherwise Refuse, naming what is known and what to do.

While the fleet is not settled (the queen has only just started), 2, 7 and 8 say Wait: who is not
there may merely not have been heard yet. Spawning need not wait, for a hive lists its workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rbee import naming
from rbee.contracts.fleet import HiveBeat, ModelEntry, WorkerBeat
from rbee.errors import HiveNotFound, NoHive, NotFound, RbeeError, WorkerNotFound
from rbee.queen.fleet import Fleet, Seat, device_fits, seat

Why = Literal["busy", "starting", "silent", "settling"]


@dataclass(frozen=True)
class Need:
    """What a request wants of the fleet."""

    model: str
    hive_id: str | None = None
    worker_id: str | None = None
    device: str | None = None


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
        found = _among_workers(need, fleet, leased, entry.id)
        if found is not None:
            return found
    hives = fleet.hives_named(need.hive_id)
    if need.worker_id is not None:
        return _absent(_wrong_worker(need, fleet), fleet)
    fitting = [h for h in hives if any(device_fits(d.id, need.device) for d in h.devices)]
    if entry is not None:
        having = [h for h in fitting if _has(h, entry.id)]
        if having:
            return Spawn(_roomiest(having, need.device, entry.size), entry.id, need.device)
    if hives and not fitting:
        return _absent(_no_device(need, hives), fleet)
    if reference.downloadable and fitting and fleet.settled:
        return Download(_roomiest(fitting, need.device, 0), need.model)
    return _absent(_nobody(need, fleet, reference.downloadable), fleet)


def _has(hive: HiveBeat, model: str) -> bool:
    return any(m.id == model and not m.problem for m in hive.models)


def _check_wishes(need: Need, fleet: Fleet) -> None:
    if need.hive_id is not None and not fleet.hives_named(need.hive_id):
        raise _no_hive() if not fleet.hives else _unknown_hive(need.hive_id, fleet)
    if need.worker_id is not None:
        known = {w.id for w in (*fleet.workers, *fleet.hesitant)}
        known |= {p.worker_id for h in fleet.hives for p in h.workers}
        if need.worker_id not in known:
            raise WorkerNotFound(
                f"No worker {need.worker_id!r} here. Known: {_listed(known)}.", path="$.worker_id"
            )


def _among_workers(need: Need, fleet: Fleet, leased: Leased, model: str) -> Assign | Wait | None:
    """Branches 3 to 5; None when no worker holds the model or will soon."""
    hives = None if need.hive_id is None else {h.id for h in fleet.hives_named(need.hive_id)}

    def fits(worker_id: str, hive_id: str, device: str) -> bool:
        return (
            need.worker_id in (None, worker_id)
            and (hives is None or hive_id in hives)
            and device_fits(device, need.device)
        )

    holders = [w for w in fleet.holders.get(model, ()) if fits(w.id, w.hive_id, w.device)]
    free = [w for w in holders if leased.get(seat(w), 0) < w.slots]
    if free:
        return Assign(min(free, key=lambda w: _load(w, leased)))
    if holders:
        return Wait("busy")
    silent = any(w.model == model and fits(w.id, w.hive_id, w.device) for w in fleet.hesitant)
    for hive in fleet.hives:
        for process in hive.workers:
            if process.model == model and fits(process.worker_id, hive.id, process.device):
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


def _nobody(need: Need, fleet: Fleet, downloadable: bool) -> RbeeError:
    if not fleet.hives and (downloadable or not fleet.entries):
        return _no_hive()
    return naming.unknown(need.model, (e.id for e in _offered(need, fleet)))


def _offered(need: Need, fleet: Fleet) -> Iterable[ModelEntry]:
    if need.hive_id is None:
        return fleet.entries
    return [entry for hive in fleet.hives_named(need.hive_id) for entry in hive.models]


def _no_hive() -> NoHive:
    return NoHive(
        "No hive has reported to this queen.",
        hint="start one on this machine with: rbee up",
        retry_after_s=5.0,
    )


def _unknown_hive(hive_id: str, fleet: Fleet) -> HiveNotFound:
    return HiveNotFound(
        f"No hive {hive_id!r} here. Known: {_listed(h.id for h in fleet.hives)}.", path="$.hive_id"
    )


def _no_device(need: Need, hives: Sequence[HiveBeat]) -> NotFound:
    known = {d.id for h in hives for d in h.devices}
    where = f" on hive {need.hive_id!r}" if need.hive_id else ""
    return NotFound(
        f"No device {(need.device or '')[:40]!r}{where}. Known: {_listed(known)}.", path="$.device"
    )


def _wrong_worker(need: Need, fleet: Fleet) -> RbeeError:
    for worker in (*fleet.workers, *fleet.hesitant):
        if worker.id == need.worker_id:
            return WorkerNotFound(
                f"Worker {worker.id!r} runs {worker.model!r} on {worker.device}"
                f" of hive {worker.hive_id!r}, which is not what was asked for.",
                hint="leave worker_id out, and the queen finds one that fits",
                path="$.worker_id",
            )
    return WorkerNotFound(f"Worker {need.worker_id!r} does not run.", path="$.worker_id")


def _listed(names: Iterable[str]) -> str:
    known = sorted(names)
    more = f" and {len(known) - 12} more" if len(known) > 12 else ""
    return (", ".join(known[:12]) or "none") + more
