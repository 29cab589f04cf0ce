"""One worker's stream, passed on. Knows nothing of queues: it is handed a leased worker.

Whatever breaks the stream is `WorkerGone`: a refused connection, a reset, silence, an end without
`done`. What the worker itself says (its error answer, its `failed` event) is raised as it is.
`Relay.tokens` counts what went out, so that the caller knows whether another worker may begin
anew; every token event carries its index and ids, so that one may also go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from rbee.contracts.events import AnyEvent, Done, Failed, Prompt, Token
from rbee.contracts.fleet import WorkerBeat
from rbee.contracts.operations import Infer
from rbee.errors import Late, RbeeError, Unavailable, Upstream, WorkerGone
from rbee.wire.http import Http
from rbee.wire.jobroutes import JOB_HEADER
from rbee.wire.problems import from_failed

DEADLINE_SLACK_MS = 500
"""The queen keeps the deadline herself; the worker is told a little more, as a safety net."""
Emit = Callable[[Sequence[AnyEvent]], None]


class Relay:
    """Streams `infer` from one worker after the other, until one has said `done`."""

    def __init__(self, http: Http, infer: Infer, job_id: str, emit: Emit) -> None:
        self._http = http
        self._infer = infer
        self._headers = {JOB_HEADER: job_id}
        self._emit = emit
        self._prompted = False
        self.tokens = 0
        """Token events passed on so far, from whichever worker."""

    def __repr__(self) -> str:
        return f"<Relay {self._headers[JOB_HEADER]} {self.tokens} token events>"

    async def run(self, worker: WorkerBeat, deadline_ms: int | None) -> Done:
        """Emit the worker's events as they come, batch by batch; returns the last, unemitted."""
        body = addressed(self._infer, worker, deadline_ms)
        try:
            last = await self._pass_on(f"{worker.url}/v1/infer", body)
        except RbeeError as exc:
            if broke(exc):
                raise gone(worker, exc.message) from exc
            raise
        if isinstance(last, Failed):
            raise from_failed(last)
        if last is None:
            raise gone(worker, "It ended its answer without saying why.")
        return last

    async def _pass_on(self, url: str, body: Infer) -> Done | Failed | None:
        async with self._http.events("POST", url, body, headers=self._headers) as stream:
            async for events in stream:
                last = events[-1]
                if isinstance(last, Done | Failed):
                    self._out(events[:-1])
                    return last
                self._out(events)
        return None

    def _out(self, events: Sequence[AnyEvent]) -> None:
        if self._infer.echo:
            events = [event for event in events if self._is_news(event)]
        if events:
            self.tokens += sum(1 for event in events if isinstance(event, Token))
            self._emit(events)

    def _is_news(self, event: AnyEvent) -> bool:
        """A second worker echoes the prompt again, which the client has read from the first."""
        if not isinstance(event, Prompt):
            return True
        told, self._prompted = self._prompted, True
        return not told


def addressed(infer: Infer, worker: WorkerBeat, deadline_ms: int | None) -> Infer:
    """The request as the worker shall read it: its own model's name, and no wishes that are
    fulfilled by its having been chosen."""
    changes: dict[str, Any] = {"hive_id": None, "worker_id": None, "device": None, "stream": True}
    limit = None if deadline_ms is None else deadline_ms + DEADLINE_SLACK_MS
    return msgspec.structs.replace(
        infer, model=worker.model, deadline_ms=limit, priority=0, **changes
    )


def broke(exc: RbeeError) -> bool:
    """Whether the error tells of the worker's death, and not of the request."""
    return isinstance(exc, Unavailable | Late) or type(exc) is Upstream


def gone(worker: WorkerBeat, why: str) -> WorkerGone:
    return WorkerGone(
        f"Worker {worker.id!r} at {worker.url} is gone: {why}",
        hint="ask again: a crashed worker is started anew by its hive",
    )
