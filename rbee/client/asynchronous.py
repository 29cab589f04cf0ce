"""The awaiting client, on aiohttp: the same questions as `Client`, one pool of connections.

`async with AsyncClient() as client`, then `async with client.stream("Hello") as events`, then
`async for event in events`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import anyio

from rbee.client import requests
from rbee.client.asyncstream import AsyncEvents
from rbee.client.pursuit import Pursuit, new_job_id
from rbee.client.queens import PATIENCE_S, Hunt, Queens, Tell
from rbee.client.transport import MUTE
from rbee.contracts import answers, fleet, operations
from rbee.contracts.events import Done, Failed
from rbee.contracts.worker_api import Vectors
from rbee.errors import Late, RbeeError, Upstream
from rbee.wire.http import SILENCE_S, Http
from rbee.wire.problems import from_failed


class AsyncClient:
    """Speaks to one hive, and to one queen or to whichever of several answers; use as an async
    context manager.

    Addresses, patience and `tell` are those of `Client`.
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
        self._http = Http()

    def __repr__(self) -> str:
        return f"<AsyncClient of {self._queens} and {self.hive}>"

    @property
    def queen(self) -> str:
        """The queen that answered last."""
        return self._queens.current

    @property
    def queens(self) -> tuple[str, ...]:
        return self._queens.addresses

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
        body = {"model": model, "input": list(texts)}
        wait_s = self._silence_s * requests.WHOLE_SILENCES
        found: requests.Embeddings = await self._asked(
            "POST", "", "/openai/v1/embeddings", requests.Embeddings, body, silence_s=wait_s
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

    async def stop_worker(
        self, worker_id: str, *, drain: bool = False, drain_s: float | None = None
    ) -> answers.Deleted:
        """Stop a worker; with `drain` it first finishes what it has, within `drain_s`."""
        operation = operations.WorkerProcessDelete(
            worker_id=worker_id, drain=drain, drain_s=drain_s
        )
        found: answers.Deleted = await self.ask(operation)
        return found

    async def drain_hive(
        self, *, drain_s: float | None = None, undo: bool = False
    ) -> answers.Drained:
        """Empty the hive and wait until its last worker is gone; `undo` has it take work again."""
        operation = operations.HiveDrain(drain_s=drain_s, undo=undo)
        found: answers.Drained = await self.ask(operation)
        return found

    async def hive_status(self) -> fleet.HiveBeat:
        """The hive's own state, as the queen hears it."""
        limit_s = requests.QUICK_S
        found: fleet.HiveBeat = await self._asked(
            "GET", self.hive, "/v1/status", fleet.HiveBeat, silence_s=limit_s
        )
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
        at, prefer = self._at(operation), {"Prefer": "respond-async"}
        found: answers.JobAccepted = await self._asked(
            "POST", at, "/v1/jobs", answers.JobAccepted, operation, headers=prefer
        )
        return found

    @asynccontextmanager
    async def attach(
        self, job_id: str, first: int = 0, *, at: str = ""
    ) -> AsyncIterator[AsyncEvents]:
        """A job's events from number `first` on; leaving them does not cancel it."""
        requests.job_path(job_id)
        hunt = Hunt(self._servers(at), self._patience_s, self.tell, sent=True)
        pursuit = Pursuit(hunt, job_id=job_id, first=first, silence_s=self._silence_s)
        async with AsyncEvents(self._http, pursuit, self._silence_s) as stream:
            yield stream

    async def job(self, job_id: str, *, at: str = "") -> answers.JobView:
        path = requests.job_path(job_id)
        found: answers.JobView = await self._asked("GET", at, path, answers.JobView)
        return found

    async def jobs(self, *, at: str = "") -> list[answers.JobView]:
        found: answers.JobList = await self._asked("GET", at, "/v1/jobs", answers.JobList)
        return found.jobs

    async def cancel(self, job_id: str, *, at: str = "") -> answers.JobView:
        path = requests.job_path(job_id)
        found: answers.JobView = await self._asked("DELETE", at, path, answers.JobView)
        return found

    # Any operation

    async def ask(self, operation: operations.AnyOperation) -> Any:
        """An operation's whole answer; see `requests.ANSWERS` for its type."""
        if not isinstance(operation, requests.LONG):
            kind = requests.ANSWERS[type(operation)]
            at, limit_s = self._at(operation), requests.silence_of(operation, self._silence_s)
            try:
                return await self._asked("POST", at, "/v1/jobs", kind, operation, silence_s=limit_s)
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
        """An operation's events. Those of an `infer` go on over a break."""
        own = isinstance(operation, operations.Infer)
        patience_s = self._patience_s if own else 0.0
        hunt = Hunt(self._servers(self._at(operation)), patience_s, self.tell)
        job_id = new_job_id() if own else ""
        pursuit = Pursuit(hunt, operation, job_id=job_id, silence_s=self._silence_s)
        async with AsyncEvents(self._http, pursuit, self._silence_s) as stream:
            yield stream

    async def _asked(
        self,
        method: str,
        at: str,
        path: str,
        kind: Any,
        body: Any = None,
        *,
        silence_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """One request and its whole answer, from the server `at`, else from whichever queen there
        is: who takes no requests is asked again."""
        limit_s = self._silence_s if silence_s is None else silence_s
        hunt = Hunt(self._servers(at), 0.0 if at else min(self._patience_s, limit_s), self.tell)
        while True:
            try:
                found = await self._http.call(
                    method, hunt.server + path, kind, body, timeout_s=limit_s, headers=headers
                )
            except RbeeError as exc:
                await anyio.sleep(hunt.refused(exc, time.monotonic()))
            else:
                hunt.answered()
                return found

    def _at(self, operation: operations.AnyOperation) -> str:
        """Where to ask for it; empty: a queen."""
        return requests.server_of(operation, "", self.hive)

    def _servers(self, at: str) -> Queens:
        return Queens((at,)) if at else self._queens
