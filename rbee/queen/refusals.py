"""What the scheduler says when it refuses: what is known, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rbee import naming
from rbee.contracts.fleet import HiveBeat, ModelEntry
from rbee.errors import (
    BadRequest,
    HiveNotFound,
    NoHive,
    NotFound,
    RbeeError,
    Unavailable,
    WorkerGone,
    WorkerNotFound,
)
from rbee.queen.fleet import Fleet

SHOWN = 12


def nobody(model: str, hive_id: str | None, fleet: Fleet, *, downloadable: bool) -> RbeeError:
    """No hive has the model, and none can fetch it."""
    if not fleet.hives and (downloadable or not fleet.entries):
        return no_hive()
    return naming.unknown(model, (e.id for e in _offered(hive_id, fleet)))


def _offered(hive_id: str | None, fleet: Fleet) -> Iterable[ModelEntry]:
    if hive_id is None:
        return fleet.entries
    return [entry for hive in fleet.hives_named(hive_id) for entry in hive.models]


def mute(model: str) -> BadRequest:
    return BadRequest(
        f"{model} makes vectors or scores, it does not generate.",
        hint="ask it for /v1/embeddings or /v1/rerank",
        path="$.model",
    )


def no_hive() -> NoHive:
    return NoHive(
        "No hive has reported to this queen.",
        hint="start one on this machine with: rbee up",
        retry_after_s=5.0,
    )


def unknown_hive(hive_id: str, fleet: Fleet) -> HiveNotFound:
    return HiveNotFound(
        f"No hive {hive_id!r} here. Known: {_listed(h.id for h in fleet.hives)}.", path="$.hive_id"
    )


def unknown_worker(worker_id: str, known: Iterable[str]) -> WorkerNotFound:
    return WorkerNotFound(
        f"No worker {worker_id!r} here. Known: {_listed(known)}.", path="$.worker_id"
    )


def no_device(device: str | None, hive_id: str | None, hives: Sequence[HiveBeat]) -> NotFound:
    known = {d.id for h in hives for d in h.devices}
    where = f" on hive {hive_id!r}" if hive_id else ""
    return NotFound(
        f"No device {(device or '')[:40]!r}{where}. Known: {_listed(known)}.", path="$.device"
    )


def wrong_worker(worker_id: str, sees: bool, fleet: Fleet) -> RbeeError:
    """The worker that was asked for is not one that can answer."""
    for worker in (*fleet.workers, *fleet.hesitant):
        if worker.id == worker_id:
            if sees and not worker.sees:
                return blind(f"Worker {worker.id!r}")
            return WorkerNotFound(
                f"Worker {worker.id!r} runs {worker.model!r} on {worker.device}"
                f" of hive {worker.hive_id!r}, which is not what was asked for.",
                hint="leave worker_id out, and the queen finds one that fits",
                path="$.worker_id",
            )
    return WorkerNotFound(f"Worker {worker_id!r} does not run.", path="$.worker_id")


def no_adapter(name: str, model: str, fleet: Fleet) -> BadRequest:
    """Where it runs may be what was wrong, so all that the model's workers have is named."""
    workers = (*fleet.workers, *fleet.hesitant)
    known = {f"{has} (on {w.id})" for w in workers if w.model == model for has in w.lora}
    return BadRequest(
        f"No worker that may be asked runs {model!r} with an adapter {name!r}."
        f" Known: {_listed(known)}.",
        hint=f"rbee worker spawn {model} --lora {name}=FILE.gguf",
        path="$.lora",
    )


def blind(who: str) -> BadRequest:
    return BadRequest(
        f"{who} reads text alone: there is no projector (mmproj) with which it could see.",
        hint="put one beside the model, or name one: rbee worker spawn MODEL --projector FILE",
        path="$.messages",
    )


def draining(model: str, hives: Sequence[HiveBeat]) -> Unavailable:
    """Not `Draining`, which is what a server says of itself: clients would ask it again."""
    return Unavailable(
        f"No worker runs {model!r}, and nothing is started on {_listed(h.id for h in hives)}, for"
        " it drains.",
        hint="let it take work again with: rbee hive drain --undo",
        retry_after_s=5.0,
    )


def no_twin(model: str, sha256: str, context: int) -> WorkerGone:
    """An answer that was begun cannot go on."""
    room = f" with room for {context} tokens" if context else ""
    return WorkerGone(
        f"The worker that wrote this answer is lost, no other runs the same file ({model},"
        f" sha256 {sha256[:12]}){room}, and no hive that may start one has it.",
        hint="ask again; a second machine with the same file would have gone on with it",
    )


def _listed(names: Iterable[str]) -> str:
    known = sorted(names)
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return (", ".join(known[:SHOWN]) or "none") + more
