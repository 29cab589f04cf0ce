"""What the engine is told, in its queue."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rbee.errors import RbeeError
from rbee.worker.engine.backend import Row
from rbee.worker.engine.writer import Writer


@dataclass(frozen=True)
class Start:
    """Generate one choice."""

    writer: Writer


@dataclass(frozen=True)
class Cancel:
    """End a request, or one choice of it."""

    request: str
    choice: int | None = None


@dataclass(frozen=True)
class Pause:
    """Compute nothing more of a request until `Proceed`: it keeps its slots."""

    request: str


@dataclass(frozen=True)
class Proceed:
    """Go on with a request that was paused."""

    request: str


@dataclass(frozen=True)
class Vector:
    """Compute pooled vectors; `done` is called in the engine thread with them or the failure."""

    inputs: Sequence[Sequence[int]]
    done: Callable[[list[Row] | RbeeError], None]
    cancelled: threading.Event = field(default_factory=threading.Event)


class Stop:
    """End after the current step."""


Command = Start | Cancel | Pause | Proceed | Vector | Stop
