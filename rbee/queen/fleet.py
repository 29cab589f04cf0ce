"""What the registry shows of the fleet: an immutable picture that the scheduler decides on.

It knows nothing of time: who is too silent to be in it was decided when it was drawn.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from rbee import naming
from rbee.contracts.fleet import HiveBeat, ModelEntry, WorkerBeat
from rbee.errors import ModelNotFound, RbeeError

LOCALHOST = "localhost"
"""The `hive_id` that means the hive on the queen's own machine."""

Seat = tuple[str, str]
"""Whose slots are counted: a worker's id and its incarnation, since a new life has free slots."""


def seat(worker: WorkerBeat) -> Seat:
    return worker.id, worker.incarnation


@dataclass(frozen=True)
class Fleet:
    """The living hives and the workers that may be asked; `settled` when silence means absence."""

    hives: Sequence[HiveBeat] = ()
    workers: Sequence[WorkerBeat] = ()
    """Only those a request may be sent to."""
    hesitant: Sequence[WorkerBeat] = ()
    """Alive, but starting, suspected or contradicted by their hive: perhaps soon."""
    missing: Sequence[HiveBeat] = ()
    """Hives that have only just fallen silent; what they last said."""
    silent: Sequence[WorkerBeat] = ()
    """Workers that have only just fallen silent, and of which nothing worse is known."""
    settled: bool = True
    local: frozenset[str] = frozenset()
    """Ids of the hives on the queen's machine."""
    _names: dict[str, ModelEntry | None] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def holders(self) -> Mapping[str, Sequence[WorkerBeat]]:
        """Model id to the workers that run it."""
        found: defaultdict[str, list[WorkerBeat]] = defaultdict(list)
        for worker in self.workers:
            found[worker.model].append(worker)
        return found

    @cached_property
    def twins(self) -> Mapping[str, Sequence[WorkerBeat]]:
        """Content (sha256) to the workers that run it."""
        found: defaultdict[str, list[WorkerBeat]] = defaultdict(list)
        for worker in self.workers:
            found[worker.sha256].append(worker)
        return found

    @cached_property
    def slots(self) -> Mapping[str, int]:
        """Model id to the slots of all workers that run it."""
        return {model: sum(w.slots for w in found) for model, found in self.holders.items()}

    @cached_property
    def entries(self) -> Sequence[ModelEntry]:
        """Every model that a hive has or a worker runs, once each; a hive's word comes first."""
        found: dict[str, ModelEntry] = {}
        for hive in self.hives:
            for entry in hive.models:
                known = found.setdefault(entry.id, entry)
                if known.problem and not entry.problem:
                    found[entry.id] = entry
        for worker in (*self.workers, *self.hesitant):
            made = ModelEntry(id=worker.model, file="", size=0, sha256=worker.sha256)
            found.setdefault(worker.model, made)
        return list(found.values())

    def entry(self, name: str) -> ModelEntry | None:
        """What `name` means here, None when nobody has it.

        Raises `BadRequest` for what is no name and `ModelAmbiguous`.
        """
        if name not in self._names:
            try:
                self._names[name] = naming.resolve(name, self.entries)
            except ModelNotFound:
                if len(self._names) > 4_096:
                    self._names.clear()
                self._names[name] = None
        return self._names[name]

    def id_of(self, name: str) -> str:
        """The id that `name` stands for; the name itself where it stands for none."""
        try:
            entry = self.entry(name)
        except RbeeError:
            return name
        return name if entry is None else entry.id

    def hives_named(self, hive_id: str | None) -> Sequence[HiveBeat]:
        """The hives that `hive_id` allows; all of them when it is None."""
        if hive_id is None:
            return self.hives
        wanted = self.local if hive_id == LOCALHOST else {hive_id}
        return [hive for hive in self.hives if hive.id in wanted]
