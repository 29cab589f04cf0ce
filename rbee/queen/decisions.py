"""What a request needs, and what may be decided about it: the scheduler's words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rbee.contracts.fleet import HiveBeat, WorkerBeat
from rbee.errors import RbeeError

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
    sha256: str = ""
    """The content that the model must have, for an answer that was begun with it."""
    context: int = 0
    """Tokens that the worker must have for one request at least; 0: any number."""
    suspect: bool = False
    """A worker crashed with it: it goes where no other suspect is on trial."""
    declined_by: str = ""
    """The worker that had no room for it just now: it is asked again where no other one is free."""
    again: bool = False
    """It was admitted before, and lost its worker: it goes before those who were not."""


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
    context: int | None = None


@dataclass(frozen=True)
class Download:
    """Fetch `model` (a name that a hub may know) to there."""

    hive: HiveBeat
    model: str


@dataclass(frozen=True)
class Refuse:
    error: RbeeError


Decision = Assign | Wait | Spawn | Download | Refuse
