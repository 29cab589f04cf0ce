"""What hives and workers tell the queen, and what she tells of them.

A beat is the sender's whole state, so that one beat is enough to relearn it. `incarnation` is a
random token made at the start of a process and `seq` counts its beats: together they let the
receiver drop late beats, also those of a previous life. No sender's clock is ever trusted.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from rbee.contracts.limits import JobId, Name, Pid, Port, Sha256, Slots
from rbee.contracts.operations import Accelerator

FileKind = Literal["model", "adapter", "projector"]
"""What a model file is good for: an answer of its own, or a part in one (a LoRA adapter, what lets
a model see)."""
WorkerState = Literal["starting", "ready", "draining", "stopping", "backoff", "failed", "stopped"]


class Device(Struct):
    """Something a model can run on. `id` is `cpu`, `metal` or `cuda:N`; memory in bytes."""

    id: str
    kind: Accelerator
    name: str
    memory_total: int
    memory_free: int


class ModelEntry(Struct, kw_only=True):
    """A model file in a hive's catalog; what its GGUF header tells, and who has it loaded."""

    id: str
    """The canonical name: the path inside the models folder, or `bee`."""
    file: str
    size: int
    sha256: Sha256 = ""
    """Empty while the hive is still reading the file."""
    architecture: str = ""
    quantisation: str = ""
    context: int = 0
    """Tokens the model was trained for; 0 when the header does not say."""
    embedded: bool = False
    problem: str = ""
    """Why no request can be answered with this file alone; empty when it can be."""
    loaded_by: list[Name] = []
    """Ids of the workers that run it."""
    kind: FileKind = "model"
    projector: str = ""
    """The id of the model's own projector, which its workers take along; empty for none."""


class WorkerProcess(Struct, kw_only=True):
    """A child of a hive. `worker_process_get` adds the log tail."""

    worker_id: Name
    model: str
    state: WorkerState
    pid: int | None = None
    port: Port | None = None
    url: str = ""
    device: str = "cpu"
    sha256: Sha256 = ""
    slots: int = 0
    context: int = 0
    rss_bytes: int = 0
    uptime_s: float = 0.0
    restarts: int = 0
    exit_code: int | None = None
    reason: str = ""
    """Why it is in `backoff` or `failed`."""
    log_tail: list[str] = []
    lora: list[Name] = []
    """Adapters that a request may name."""
    sees: bool = False
    """Whether it was given a projector."""


class WorkerBeat(Struct, tag_field="from", tag="worker", kw_only=True):
    """A worker's state."""

    id: Name
    incarnation: str
    seq: int
    url: str
    hive_id: str
    """Empty for a worker that no hive started."""
    model: str
    sha256: Sha256
    device: str
    state: WorkerState
    slots: Slots
    busy: int
    waiting: int
    context: int
    """Tokens one request may use, prompt and answer together."""
    step: int
    """Engine steps so far: liveness is work done."""
    step_age_s: float
    """How long the current step has been running; 0 when idle."""
    step_limit_s: float = 0.0
    """How long a step may take on this worker, by what steps took so far; one that takes longer is
    wedged. 0: it cannot tell."""
    pid: Pid | None = None
    embeds: bool = False
    generates: bool = True
    """False for models that only make vectors or scores."""
    ranks: bool = False
    sees: bool = False
    """Whether messages may hold images."""
    lora: list[Name] = []
    """Adapters that a request may name."""
    jobs: list[JobId] = []
    """Whose answers are being written."""
    kept: list[JobId] = []
    """Whose answers have ended and may still be attached to."""
    rss_bytes: int = 0
    version: str = ""


class HiveBeat(Struct, tag_field="from", tag="hive", kw_only=True):
    """A hive's state. `state` is `stopped` in the last one."""

    id: Name
    incarnation: str
    seq: int
    url: str
    hostname: str
    state: WorkerState
    devices: list[Device]
    models: list[ModelEntry]
    workers: list[WorkerProcess]
    memory_total: int
    memory_free: int
    version: str = ""


Beat = WorkerBeat | HiveBeat


class BeatAck(Struct):
    """The queen's answer: when she wants the next beat, and which life of hers this is."""

    next_s: float
    queen: str


class HiveStatus(Struct, kw_only=True):
    """What `status` tells of a hive; `age_s` since its last beat by the queen's clock."""

    hive: HiveBeat
    age_s: float
    alive: bool


class WorkerStatus(Struct, kw_only=True):
    """What `status` tells of a worker; `leased` counts the queen's own leases on it."""

    worker: WorkerBeat
    age_s: float
    alive: bool
    leased: int


class ModelStatus(Struct, kw_only=True):
    """A model the fleet knows, and where."""

    id: str
    sha256: Sha256
    size: int
    quantisation: str
    context: int
    hives: list[str]
    workers: list[str]
    problem: str = ""


class QueueStatus(Struct):
    """The queen's own load. *waiting + leased + done = arrived*, always."""

    waiting: int
    leased: int
    done: int
    arrived: int
    limit: int


class FleetStatus(Struct, kw_only=True):
    """The answer to `status`."""

    queen: str
    version: str
    uptime_s: float
    hives: list[HiveStatus]
    workers: list[WorkerStatus]
    models: list[ModelStatus]
    queue: QueueStatus
