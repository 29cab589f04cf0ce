"""The awaiting client, on aiohttp: the same questions as `Client`, one pool of connections.

`async with AsyncClient() as client`, then `async with client.stream("Hello") as events`, then
`async for event in events`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

from rbee.client import requests
from rbee.client.transport import MUTE
from rbee.contracts import answers, fleet, operations
from rbee.contracts.events import AnyEvent, Done, Failed
from rbee.contracts.worker_api import Vectors
from rbee.errors import Late, Upstream
from rbee.wire.http import SILENCE_S, Http
from rbee.wire.problems import from_failed

JOB_HEADER = "X-Rbee-Job-Id"


class AsyncEvents:
    """A stream of events, to be iterated over once; raises `Upstream` when it breaks off."""

    def __init__(self, url: str, first: int = 0) -> None:
        self.job_id = ""
        self.cursor = first
        """The number of the next event: where to resume."""
        self._url = url
        self._source: AsyncIterator[list[AnyEvent]] | None = None

    def __repr__(self) -> str:
        return f"<AsyncEvents of {self.job_id}, next is {self.cursor}>"

    def started(self, headers: Mapping[str, str]) -> None:
        self.job_id = headers.get(JOB_HEADER, "")

    def reading(self, source: AsyncIterator[list[AnyEvent]]) -> Self:
        self._source = source
        return self

    async def __aiter__(self) -> AsyncIterator[AnyEvent]:
        assert self._source is not None
        async for events in self._source:
            for event in events:
                self.cursor += 1
                yield event
                if isinstance(event, Done | Failed):
                    return
        raise Upstream(f"The answer from {self._url} broke off.")


class AsyncClient:
    """Speaks to one queen and one hive; use as an async context manager.

    Addresses left out come from `RBEE_QUEEN_URL` and `RBEE_HIVE_URL`, else they are the local ones.
    """

    def __init__(self, queen: str = "", hive: str = "", *, silence_s: float = SILENCE_S) -> None:
        self.queen = requests.queen_address(queen)
        self.hive = requests.hive_address(hive)
        self._silence_s = silence_s
        self._http = Http()

    def __repr__(self) -> str:
        return f"<AsyncClient of {self.queen} and {self.hive}>"

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(kind, exc, trace)

    # Generating text

    async def infer(self, prompt: str | None = None, **fields: Any) -> answers.InferAnswer:
        """The whole answer. `fields` are those of `contracts.operations.Infer`."""
        collected = requests.Collected()
        async with self.stream(prompt, **fields) as stream:
            async for event in stream:
                collected.feed(event)
            return collected.answer(stream.job_id)

    @asynccontextmanager
    async def stream(self, prompt: str | None = None, **fields: Any) -> AsyncIterator[AsyncEvents]:
        """The answer as it comes. Leaving the stream cancels it."""
        async with self.events(requests.infer(prompt, {**fields, "stream": True})) as stream:
            yield stream

    async def embed(self, texts: Sequence[str], model: str = "bee") -> Vectors:
        """One vector for each text."""
        url = f"{self.queen}/openai/v1/embeddings"
        body = {"model": model, "input": list(texts)}
        found: requests.Embeddings = await self._http.call(
            "POST",
            url,
            requests.Embeddings,
            body,
            timeout_s=self._silence_s * requests.WHOLE_SILENCES,
        )
        return found.vectors()

    # The fleet, and what a hive keeps

    async def status(self) -> fleet.FleetStatus:
        found: fleet.FleetStatus = await self.ask(operations.Status())
        return found

    async def spawn(self, model: str, **fields: Any) -> answers.Spawned:
        """Start a worker and wait until it serves."""
        found: answers.Spawned = await self.ask(operations.WorkerSpawn(model=model, **fields))
        return found

    async def workers(self) -> list[fleet.WorkerProcess]:
        found: answers.WorkerProcesses = await self.ask(operations.WorkerProcessList())
        return found.workers

    async def worker(self, worker_id: str) -> fleet.WorkerProcess:
        operation = operations.WorkerProcessGet(worker_id=worker_id)
        found: fleet.WorkerProcess = await self.ask(operation)
        return found

    async def stop_worker(self, worker_id: str) -> answers.Deleted:
        operation = operations.WorkerProcessDelete(worker_id=worker_id)
        found: answers.Deleted = await self.ask(operation)
        return found

    async def download(self, model: str) -> fleet.ModelEntry:
        """Fetch a model and wait until it is in the catalog."""
        found: fleet.ModelEntry = await self.ask(operations.ModelDownload(model=model))
        return found

    async def models(self) -> list[fleet.ModelEntry]:
        found: answers.ModelEntries = await self.ask(operations.ModelList())
        return found.models

    async def model(self, model: str) -> fleet.ModelEntry:
        found: fleet.ModelEntry = await self.ask(operations.ModelGet(model=model))
        return found

    async def delete_model(self, model: str) -> answers.Deleted:
        found: answers.Deleted = await self.ask(operations.ModelDelete(model=model))
        return found

    # Jobs; `at` is the server that runs the job, the queen unless told

    async def submit(self, operation: operations.AnyOperation) -> answers.JobAccepted:
        """Start an operation that runs on whether or not somebody reads it."""
        prefer = {"Prefer": "respond-async"}
        found: answers.JobAccepted = await self._http.call(
            "POST", self._jobs(operation), answers.JobAccepted, operation, headers=prefer
        )
        return found

    @asynccontextmanager
    async def attach(
        self, job_id: str, first: int = 0, *, at: str = ""
    ) -> AsyncIterator[AsyncEvents]:
        """A job's events from number `first` on; the `cursor` of a broken stream resumes it."""
        url = (at or self.queen) + requests.job_path(job_id, f"/stream?from={first}")
        async with self._events("GET", url, None, first) as stream:
            yield stream

    async def job(self, job_id: str, *, at: str = "") -> answers.JobView:
        url = (at or self.queen) + requests.job_path(job_id)
        found: answers.JobView = await self._http.call("GET", url, answers.JobView)
        return found

    async def jobs(self, *, at: str = "") -> list[answers.JobView]:
        url = f"{at or self.queen}/v1/jobs"
        found: answers.JobList = await self._http.call("GET", url, answers.JobList)
        return found.jobs

    async def cancel(self, job_id: str, *, at: str = "") -> answers.JobView:
        url = (at or self.queen) + requests.job_path(job_id)
        found: answers.JobView = await self._http.call("DELETE", url, answers.JobView)
        return found

    # Any operation

    async def ask(self, operation: operations.AnyOperation) -> Any:
        """An operation's whole answer; see `requests.ANSWERS` for its type."""
        if not isinstance(operation, requests.LONG):
            kind = requests.ANSWERS[type(operation)]
            url = self._jobs(operation)
            limit_s = requests.silence_of(operation, self._silence_s)
            try:
                return await self._http.call("POST", url, kind, operation, timeout_s=limit_s)
            except Late as exc:
                exc.hint = exc.hint or MUTE
                raise
        async with self.events(operation) as stream:
            async for event in stream:
                if isinstance(event, Failed):
                    raise from_failed(event)
                if isinstance(event, Done):
                    return requests.result(operation, event)
        raise Upstream(f"{self.hive} ended without an answer.")

    @asynccontextmanager
    async def events(self, operation: operations.AnyOperation) -> AsyncIterator[AsyncEvents]:
        """An operation's events."""
        async with self._events("POST", self._jobs(operation), operation, 0) as stream:
            yield stream

    @asynccontextmanager
    async def _events(
        self, method: str, url: str, body: Any, first: int
    ) -> AsyncIterator[AsyncEvents]:
        stream = AsyncEvents(url, first)
        async with self._http.events(
            method, url, body, silence_s=self._silence_s, on_headers=stream.started
        ) as source:
            yield stream.reading(source)

    def _jobs(self, operation: operations.AnyOperation) -> str:
        return requests.server_of(operation, self.queen, self.hive) + "/v1/jobs"
