"""The blocking client: one method for each thing that can be asked of a queen or a hive."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rbee.client import requests
from rbee.client.pursuit import Pursuit, new_job_id
from rbee.client.queens import PATIENCE_S, Hunt, Queens, Tell
from rbee.client.stream import Events
from rbee.client.transport import SILENCE_S, call
from rbee.contracts import answers, fleet, operations
from rbee.contracts.events import Done, Failed
from rbee.contracts.worker_api import Vectors
from rbee.errors import RbeeError, Upstream
from rbee.wire import codec
from rbee.wire.problems import from_failed


class Client:
    """Speaks to one hive, and to one queen or to whichever of several answers. Holds no connection,
    so closing it is a formality.

    Addresses left out come from `RBEE_QUEEN_URL` (several with commas between) and `RBEE_HIVE_URL`,
    else they are the local ones. A stream that breaks is attached to again, and a queen that was
    met is waited for, for `patience_s` at most; `tell` then hears of it, in words.
    """

    def __init__(
        self,
        queen: str = "",
        hive: str = "",
        *,
        silence_s: float = SILENCE_S,
        patience_s: float = PATIENCE_S,
        tell: Tell | None = None,
    ) -> None:
        self.hive = requests.hive_address(hive)
        self.tell = tell
        self._queens = Queens(requests.queen_addresses(queen))
        self._silence_s = silence_s
        self._patience_s = patience_s

    def __repr__(self) -> str:
        return f"<Client of {self._queens} and {self.hive}>"

    @property
    def queen(self) -> str:
        """The queen that answered last."""
        return self._queens.current

    @property
    def queens(self) -> tuple[str, ...]:
        return self._queens.addresses

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return

    # Generating text

    def infer(self, prompt: str | None = None, **fields: Any) -> answers.InferAnswer:
        """The whole answer. `fields` are those of `contracts.operations.Infer`."""
        collected = requests.Collected()
        with self.stream(prompt, **fields) as stream:
            for event in stream:
                collected.feed(event)
        return collected.answer(stream.job_id)

    def stream(self, prompt: str | None = None, **fields: Any) -> Events:
        """The answer as it comes. Leaving the stream cancels it."""
        return self.events(requests.infer(prompt, {**fields, "stream": True}))

    def embed(self, texts: Sequence[str], model: str = "bee") -> Vectors:
        """One vector for each text."""
        found: requests.Embeddings = codec.decode(self.embed_raw(texts, model), requests.Embeddings)
        return found.vectors()

    def embed_raw(self, texts: Sequence[str], model: str = "bee") -> bytes:
        """The same, as the queen wrote it (OpenAI's dialect)."""
        body = {"model": model, "input": list(texts)}
        wait_s = self._silence_s * requests.WHOLE_SILENCES
        return self._asked("POST", "", "/openai/v1/embeddings", body, silence_s=wait_s)

    # The fleet, and what a hive keeps

    def status(self) -> fleet.FleetStatus:
        found: fleet.FleetStatus = self.ask(operations.Status())
        return found

    def spawn(self, model: str, **fields: Any) -> answers.Spawned:
        """Start a worker and wait until it serves."""
        found: answers.Spawned = self.ask(operations.WorkerSpawn(model=model, **fields))
        return found

    def workers(self) -> list[fleet.WorkerProcess]:
        found: answers.WorkerProcesses = self.ask(operations.WorkerProcessList())
        return found.workers

    def worker(self, worker_id: str) -> fleet.WorkerProcess:
        operation = operations.WorkerProcessGet(worker_id=worker_id)
        found: fleet.WorkerProcess = self.ask(operation)
        return found

    def stop_worker(
        self, worker_id: str, *, drain: bool = False, drain_s: float | None = None
    ) -> answers.Deleted:
        """Stop a worker; with `drain` it first finishes what it has, within `drain_s`."""
        operation = operations.WorkerProcessDelete(
            worker_id=worker_id, drain=drain, drain_s=drain_s
        )
        found: answers.Deleted = self.ask(operation)
        return found

    def drain_hive(self, *, drain_s: float | None = None, undo: bool = False) -> answers.Drained:
        """Empty the hive and wait until its last worker is gone; `undo` has it take work again."""
        operation = operations.HiveDrain(drain_s=drain_s, undo=undo)
        found: answers.Drained = self.ask(operation)
        return found

    def hive_status(self) -> fleet.HiveBeat:
        """The hive's own state, as the queen hears it."""
        found: fleet.HiveBeat = codec.decode(self.hive_status_raw(), fleet.HiveBeat)
        return found

    def hive_status_raw(self) -> bytes:
        return self._asked("GET", self.hive, "/v1/status", silence_s=requests.QUICK_S)

    def download(self, model: str) -> fleet.ModelEntry:
        """Fetch a model and wait until it is in the catalog."""
        found: fleet.ModelEntry = self.ask(operations.ModelDownload(model=model))
        return found

    def models(self) -> list[fleet.ModelEntry]:
        found: answers.ModelEntries = self.ask(operations.ModelList())
        return found.models

    def model(self, model: str) -> fleet.ModelEntry:
        found: fleet.ModelEntry = self.ask(operations.ModelGet(model=model))
        return found

    def delete_model(self, model: str) -> answers.Deleted:
        found: answers.Deleted = self.ask(operations.ModelDelete(model=model))
        return found

    # Jobs; `at` is the server that runs the job, the queen unless told

    def submit(self, operation: operations.AnyOperation) -> answers.JobAccepted:
        """Start an operation that runs on whether or not somebody reads it."""
        prefer = {"Prefer": "respond-async"}
        raw = self._asked("POST", self._at(operation), "/v1/jobs", operation, headers=prefer)
        found: answers.JobAccepted = codec.decode(raw, answers.JobAccepted)
        return found

    def attach(self, job_id: str, first: int = 0, *, at: str = "") -> Events:
        """A job's events from number `first` on; leaving them does not cancel it."""
        requests.job_path(job_id)
        hunt = Hunt(self._servers(at), self._patience_s, self.tell, sent=True)
        pursuit = Pursuit(hunt, job_id=job_id, first=first, silence_s=self._silence_s)
        return Events(pursuit, self._silence_s)

    def job(self, job_id: str, *, at: str = "") -> answers.JobView:
        raw = self._asked("GET", at, requests.job_path(job_id))
        found: answers.JobView = codec.decode(raw, answers.JobView)
        return found

    def jobs(self, *, at: str = "") -> list[answers.JobView]:
        found: answers.JobList = codec.decode(self._asked("GET", at, "/v1/jobs"), answers.JobList)
        return found.jobs

    def cancel(self, job_id: str, *, at: str = "") -> answers.JobView:
        raw = self._asked("DELETE", at, requests.job_path(job_id))
        found: answers.JobView = codec.decode(raw, answers.JobView)
        return found

    # Any operation

    def ask(self, operation: operations.AnyOperation) -> Any:
        """An operation's whole answer; see `requests.ANSWERS` for its type."""
        if not isinstance(operation, requests.LONG):
            return codec.decode(self.ask_raw(operation), requests.ANSWERS[type(operation)])
        with self.events(operation) as stream:
            for event in stream:
                if isinstance(event, Failed):
                    raise from_failed(event)
                if isinstance(event, Done):
                    return requests.result(operation, event)
        raise Upstream(f"{self.hive} ended without an answer.")

    def ask_raw(self, operation: operations.AnyOperation) -> bytes:
        """The same as the server wrote it; for operations whose answer comes in one piece."""
        silence_s = requests.silence_of(operation, self._silence_s)
        return self._asked("POST", self._at(operation), "/v1/jobs", operation, silence_s=silence_s)

    def events(self, operation: operations.AnyOperation) -> Events:
        """An operation's events. Those of an `infer` go on over a break."""
        own = isinstance(operation, operations.Infer)
        hunt = Hunt(self._servers(self._at(operation)), self._patience_s if own else 0.0, self.tell)
        job_id = new_job_id() if own else ""
        pursuit = Pursuit(hunt, operation, job_id=job_id, silence_s=self._silence_s)
        return Events(pursuit, self._silence_s)

    def _asked(
        self,
        method: str,
        at: str,
        path: str,
        body: Any = None,
        *,
        silence_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """One request and its whole answer, from the server `at`, else from whichever queen there
        is: who takes no requests is asked again."""
        silence_s = self._silence_s if silence_s is None else silence_s
        patience_s = 0.0 if at else min(self._patience_s, silence_s)
        hunt = Hunt(self._servers(at), patience_s, self.tell)
        while True:
            try:
                url = hunt.server + path
                raw = call(method, url, body, silence_s=silence_s, headers=headers)
            except RbeeError as exc:
                time.sleep(hunt.refused(exc, time.monotonic()))
            else:
                hunt.answered()
                return raw

    def _at(self, operation: operations.AnyOperation) -> str:
        """Where to ask for it; empty: a queen."""
        return requests.server_of(operation, "", self.hive)

    def _servers(self, at: str) -> Queens:
        return Queens((at,)) if at else self._queens
