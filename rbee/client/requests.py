"""What both clients share: where an operation goes, and what type its answer has. No I/O."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote

from msgspec import Struct, field

from rbee.config import HIVE_URL, QUEEN_URL
from rbee.contracts import answers, fleet, operations
from rbee.contracts.events import AnyEvent, Done, Failed, Prompt, Token
from rbee.contracts.limits import JobId, Name
from rbee.contracts.worker_api import Vectors
from rbee.errors import BadRequest, HiveNotFound, Upstream
from rbee.wire import codec
from rbee.wire.fold import Fold
from rbee.wire.problems import from_failed

ANSWERS: dict[type[operations.Operation], Any] = {
    operations.Status: fleet.FleetStatus,
    operations.Infer: answers.InferAnswer,
    operations.WorkerSpawn: answers.Spawned,
    operations.WorkerProcessList: answers.WorkerProcesses,
    operations.WorkerProcessGet: fleet.WorkerProcess,
    operations.WorkerProcessDelete: answers.Deleted,
    operations.HiveDrain: answers.Drained,
    operations.ModelDownload: fleet.ModelEntry,
    operations.ModelList: answers.ModelEntries,
    operations.ModelGet: fleet.ModelEntry,
    operations.ModelDelete: answers.Deleted,
}
"""Operation to its answer's type."""
LONG = (operations.Infer, operations.WorkerSpawn, operations.ModelDownload)
"""Operations that may take minutes: they are always streamed, so that a silence means something."""
WHOLE_SILENCES = 20
"""Vectors come in one piece, and their model may have to be loaded first; a hive that drains says
nothing before it has. So many times longer may such an answer be silent."""
QUICK_S = 5.0
"""`status` is answered out of memory: a server that takes longer is none of ours, or wedged."""


def silence_of(operation: operations.AnyOperation, silence_s: float) -> float:
    """How long the answer to `operation` may be silent, for a client that allows `silence_s`."""
    match operation:
        case operations.Status():
            return min(silence_s, QUICK_S)
        case operations.HiveDrain(undo=False, drain_s=drain_s):
            return _drained_within(drain_s, silence_s)
        case operations.WorkerProcessDelete(drain=True, drain_s=drain_s):
            return _drained_within(drain_s, silence_s)
        case _:
            return silence_s


def _drained_within(drain_s: float | None, silence_s: float) -> float:
    """Stopping what is drained takes a while more; how long the hive drains by itself, it knows."""
    return silence_s + (silence_s * WHOLE_SILENCES if drain_s is None else drain_s)


def queen_addresses(given: str = "") -> tuple[str, ...]:
    """The queens' addresses: as given, else from the environment, each a list with commas; else
    the local one."""
    for text in (given, os.environ.get("RBEE_QUEEN_URL", "")):
        found = tuple(url for part in text.split(",") if (url := part.strip().rstrip("/")))
        if found:
            return found
    return (QUEEN_URL,)


def queen_address(given: str = "") -> str:
    """The first of them."""
    return queen_addresses(given)[0]


def hive_address(given: str = "") -> str:
    """The hive's address, found in the same way."""
    return (given or os.environ.get("RBEE_HIVE_URL", "") or HIVE_URL).rstrip("/")


def server_of(operation: operations.AnyOperation, queen: str, hive: str) -> str:
    return queen if isinstance(operation, operations.Status | operations.Infer) else hive


def job_path(job_id: JobId, more: str = "") -> str:
    if not job_id:
        raise BadRequest("A job's id is not empty.")
    return f"/v1/jobs/{quote(job_id, safe='')}{more}"


def infer(prompt: str | None, fields: dict[str, Any]) -> operations.Infer:
    """The operation for `prompt`, as one user's message unless `fields` say otherwise; checked."""
    body: dict[str, Any] = {"operation": "infer", "model": "bee", **fields}
    if prompt is not None:
        body["messages"] = [*body.get("messages", []), {"role": "user", "content": prompt}]
    made: operations.Infer = codec.convert(codec.plain(body), operations.Infer)
    return made


def result(operation: operations.AnyOperation, last: Done) -> Any:
    """The answer that the last event of a streamed operation carries."""
    return codec.convert(last.result, ANSWERS[type(operation)])


class Collected:
    """Puts a streamed `infer` together again; feed it every event."""

    def __init__(self) -> None:
        self._fold = Fold()
        self._last: Done | None = None

    def feed(self, event: AnyEvent) -> None:
        """Raises what a `failed` event says."""
        match event:
            case Token() | Prompt():
                self._fold.add((event,))
            case Done():
                self._last = event
            case Failed():
                raise from_failed(event)
            case _:
                pass  # queued and progress are no part of the answer

    @property
    def text(self) -> str:
        """What the first choice says so far."""
        return self._fold.text()

    def answer(self, job_id: str) -> answers.InferAnswer:
        if self._last is None:
            raise Upstream("The answer broke off.")
        return self._fold.answer(job_id, self._last)


class _Embedding(Struct):
    embedding: list[float]
    index: int = 0


class _EmbeddingUsage(Struct):
    prompt_tokens: int = 0


class Embeddings(Struct):
    """What the queen answers: OpenAI's dialect, as far as it is read here."""

    data: list[_Embedding]
    model: str = ""
    usage: _EmbeddingUsage = field(default_factory=_EmbeddingUsage)

    def vectors(self) -> Vectors:
        return Vectors(
            model=self.model,
            vectors=[row.embedding for row in sorted(self.data, key=lambda row: row.index)],
            prompt_tokens=self.usage.prompt_tokens,
        )


def find_hive(status: fleet.FleetStatus, hive_id: Name) -> str:
    """Where the hive of that id is, by what the queen knows."""
    for known in status.hives:
        if known.hive.id == hive_id:
            return known.hive.url
    names = ", ".join(sorted(h.hive.id for h in status.hives)) or "none"
    raise HiveNotFound(f"The queen knows no hive {hive_id[:80]!r}. Known: {names}.")
