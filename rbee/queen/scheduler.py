"""Where a request goes: a pure decision over the fleet's picture. The branches, in this order:

1. The name must be a name, unambiguous, and not that of a broken file, nor of a model that makes
   vectors where text is wanted.
2. A hive, a worker or a device that is asked for must be there.
3. The least loaded worker that holds the model, fits the wishes, can do what is needed (an adapter,
   sight) and has a free slot: Assign. One that has just declined the request comes last.
4. All of them are full, or barred (left alone for a while, or trying out a suspect): Wait.
5. One is on its way (starting, or started again after a crash, or only just silent): Wait.
6. An adapter is there only because somebody named it when a worker was started: without such a
   worker, Refuse.
7. A hive has the file, and the projector where pictures are to be seen: Spawn on the one with the
   most room. None has the projector, or all of them drain: Refuse.
8. Nobody has it, but a hub may: Download on the hive with the most room.
9. Otherwise Refuse, naming what is known and what to do.
10. Instead of 8, and of 9 where something is absent, Wait while a worker that fits is only late.

An answer that was begun goes on with the same content (`Need.sha256`), whatever it is called: 3 to
5 and 7 go by that. A worker or a file whose sha256 is not known is not the same, but worth waiting
for; so is a hive that has only just fallen silent. Nothing is downloaded.

While the fleet is not settled (the queen has only just started), 2 and 6 to 9 say Wait where they
would refuse or download: who is not there may merely not have been heard yet. Spawning need not
wait, for a hive lists its workers.
"""

from __future__ import annotations

from collections.abc import Sequence

from rbee import naming
from rbee.contracts.fleet import HiveBeat, ModelEntry, WorkerBeat, WorkerProcess
from rbee.errors import (
    HiveNotFound,
    NoHive,
    NotFound,
    RbeeError,
    Unavailable,
    WorkerGone,
    WorkerNotFound,
)
from rbee.naming import device_fits
from rbee.queen.decisions import Assign, Decision, Download, Need, Refuse, Spawn, Wait, Why
from rbee.queen.fitting import Barred, Leased, among_workers, coming, late_for
from rbee.queen.fleet import Fleet
from rbee.queen.refusals import (
    blind,
    draining,
    mute,
    no_adapter,
    no_device,
    no_hive,
    no_twin,
    nobody,
    unknown_hive,
    unknown_worker,
    wrong_worker,
)
from rbee.queen.room import context_for, copy_of, has, roomiest, takes_work

__all__ = [
    "Assign",
    "Decision",
    "Download",
    "Need",
    "Refuse",
    "Spawn",
    "Wait",
    "Why",
    "choose",
    "is_absence",
]

_NOBODY: Barred = frozenset()


def choose(need: Need, fleet: Fleet, leased: Leased, barred: Barred = _NOBODY) -> Decision:
    """The one decision about a request; `leased` counts the slots taken on each worker."""
    if need.sha256:
        decision = _go_on(need, fleet, leased, barred)
    else:
        decision = _begin(need, fleet, leased, barred)
    absent = isinstance(decision, Refuse) and is_absence(decision.error)
    if (absent or isinstance(decision, Download)) and late_for(need, fleet):
        return Wait("silent")
    return decision


def is_absence(error: RbeeError) -> bool:
    """Whether what is refused now might be granted when somebody is heard again."""
    return isinstance(error, NotFound | Unavailable | WorkerGone)


def _begin(need: Need, fleet: Fleet, leased: Leased, barred: Barred) -> Decision:
    """The branches in their order."""
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
        found = among_workers(need, fleet, leased, barred, holders)
        found = found or coming(need, fleet, lambda worker: worker.model == entry.id)
        if found is not None:
            return found
    hives = fleet.hives_named(need.hive_id)
    if need.lora is not None and (entry is not None or reference.downloadable):
        return _absent(no_adapter(need.lora, entry.id if entry else need.model, fleet), fleet)
    if need.worker_id is not None:
        return _absent(wrong_worker(need.worker_id, need.sees, fleet), fleet)
    fitting = _with_device(hives, need)
    if hives and not fitting:
        return _absent(no_device(need.device, need.hive_id, hives), fleet)
    if entry is not None:
        having = [h for h in fitting if has(h, entry.id, need.sees)]
        if having:
            return _spawn(need, fleet, having, entry)
        if need.sees:
            return _absent(blind(entry.id), fleet)
    if reference.downloadable and fitting and fleet.settled:
        open_ones = [h for h in fitting if takes_work(h)]
        if not open_ones:
            return Refuse(draining(need.model, fitting))
        return Download(roomiest(open_ones, need.device, 0), need.model)
    return _absent(
        nobody(need.model, need.hive_id, fleet, downloadable=reference.downloadable), fleet
    )


def _go_on(need: Need, fleet: Fleet, leased: Leased, barred: Barred) -> Decision:
    """The same branches for an answer that was begun: by content."""
    twins = fleet.twins.get(need.sha256, ())
    found = among_workers(need, fleet, leased, barred, twins)
    found = found or coming(need, fleet, lambda worker: _may_be_twin(worker, need))
    if found is not None:
        return found
    if need.worker_id is None and need.lora is None:
        hives = _with_device(fleet.hives_named(need.hive_id), need)
        copies = [(h, copy_of(h, need.sha256, need.sees)) for h in hives]
        having = [(h, entry) for h, entry in copies if entry is not None]
        if having:
            return _spawn(need, fleet, [h for h, _ in having], having[0][1])
        unread = (entry for h in hives for entry in h.models)
        if any(entry.id == need.model and not entry.sha256 for entry in unread):
            return Wait("settling")
    if any(copy_of(hive, need.sha256, need.sees) for hive in fleet.missing):
        return Wait("silent")
    return _absent(no_twin(need.model, need.sha256, need.context), fleet)


def _may_be_twin(worker: WorkerBeat | WorkerProcess, need: Need) -> bool:
    return worker.sha256 == need.sha256 or (not worker.sha256 and worker.model == need.model)


def _spawn(
    need: Need, fleet: Fleet, having: Sequence[HiveBeat], entry: ModelEntry
) -> Spawn | Refuse | Wait:
    open_ones = [h for h in having if takes_work(h)]
    if not open_ones:
        return _absent(draining(entry.id, having), fleet)
    hive = roomiest(open_ones, need.device, entry.size)
    own = copy_of(hive, need.sha256, need.sees) if need.sha256 else entry
    model = entry if own is None else own
    return Spawn(hive, model.id, need.device, context_for(need.context, model))


def _with_device(hives: Sequence[HiveBeat], need: Need) -> list[HiveBeat]:
    return [h for h in hives if any(device_fits(d.id, need.device) for d in h.devices)]


def _check_wishes(need: Need, fleet: Fleet) -> None:
    if need.hive_id is not None and not fleet.hives_named(need.hive_id):
        raise no_hive() if not fleet.hives else unknown_hive(need.hive_id, fleet)
    if need.worker_id is not None:
        known = {w.id for w in (*fleet.workers, *fleet.hesitant)}
        known |= {p.worker_id for h in fleet.hives for p in h.workers}
        if need.worker_id not in known:
            raise unknown_worker(need.worker_id, known)


def _absent(error: RbeeError, fleet: Fleet) -> Refuse | Wait:
    return Refuse(error) if fleet.settled else Wait("settling")
