"""The blocking client: one method for each thing that can be asked of a queen or a hive."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from rbee.client import requests
from rbee.client.transport import SILENCE_S, Events, call, events
from rbee.contracts import answers, fleet, operations
from rbee.contracts.events import Done, Failed
from rbee.contracts.worker_api import Vectors
from rbee.errors import Upstream
from rbee.wire import codec
from rbee.wire.problems import from_failed


class Client:
    """Speaks to one queen and one hive. Holds no connection, so closing it is a formality.

    Addresses left out come from `RBEE_QUEEN_URL` and `RBEE_HIVE_URL`, else they are the local ones.
    """

    def __init__(self, queen: str = "", hive: str = "", *, silence_s: float = SILENCE_S) -> None:
        self.queen = requests.queen_address(queen)
        self.hive = requests.hive_address(hive)
        self._silence_s = silence_s

    def __repr__(self) -> str:
        return f"<Client of {self.queen} and {self.hive}>"

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
        return call("POST", f"{self.queen}/openai/v1/embeddings", body, silence_s=wait_s)

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

    def stop_worker(self, worker_id: str) -> answers.Deleted:
        operation = operations.WorkerProcessDelete(worker_id=worker_id)
        found: answers.Deleted = self.ask(operation)
        return found

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
        raw = call("POST", self._jobs(operation), operation, headers={"Prefer": "respond-async"})
        found: answers.JobAccepted = codec.decode(raw, answers.JobAccepted)
        return found

    def attach(self, job_id: str, first: int = 0, *, at: str = "") -> Events:
        """A job's events from number `first` on; `Events.cursor` of a broken stream resumes it."""
        url = (at or self.queen) + requests.job_path(job_id, f"/stream?from={first}")
        return events("GET", url, first=first, silence_s=self._silence_s)

    def job(self, job_id: str, *, at: str = "") -> answers.JobView:
        raw = call("GET", (at or self.queen) + requests.job_path(job_id))
        found: answers.JobView = codec.decode(raw, answers.JobView)
        return found

    def jobs(self, *, at: str = "") -> list[answers.JobView]:
        found: answers.JobList = codec.decode(
            call("GET", f"{at or self.queen}/v1/jobs"), answers.JobList
        )
        return found.jobs

    def cancel(self, job_id: str, *, at: str = "") -> answers.JobView:
        raw = call("DELETE", (at or self.queen) + requests.job_path(job_id))
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
        """The same as the server wrote it; for operations that take no time."""
        silence_s = requests.silence_of(operation, self._silence_s)
        return call("POST", self._jobs(operation), operation, silence_s=silence_s)

    def events(self, operation: operations.AnyOperation) -> Events:
        """An operation's events."""
        return events("POST", self._jobs(operation), operation, silence_s=self._silence_s)

    def _jobs(self, operation: operations.AnyOperation) -> str:
        return requests.server_of(operation, self.queen, self.hive) + "/v1/jobs"
