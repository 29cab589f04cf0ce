"""Short questions to a worker that holds a model: vectors, tokens. Each takes a slot meanwhile.

They change nothing, so one whose worker is gone is asked again elsewhere, by the rules that hold
for answers that have not said anything: a pause, a budget, and no third worker for what killed two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import anyio
from starlette.requests import Request

from rbee.contracts.fleet import WorkerBeat
from rbee.errors import Draining, Late, Overloaded, RbeeError, Unavailable, WorkerGone
from rbee.queen.attempts import Attempts
from rbee.queen.dispatch import Dispatch
from rbee.queen.lease import Lease
from rbee.queen.relay import broke
from rbee.queen.retries import Retries
from rbee.queen.scheduler import Need
from rbee.wire.gone import unless_gone
from rbee.wire.http import Http

T = TypeVar("T")
ANSWER_S = 300.0


@dataclass(frozen=True)
class Question(Generic[T]):
    """What is asked of a worker, and the type of what it answers."""

    path: str
    answer: type[T]
    body: Any


class Questions:
    """Asks a worker of the model, and nobody when the client has left."""

    def __init__(self, dispatch: Dispatch, retries: Retries, http: Http) -> None:
        self._dispatch = dispatch
        self._retries = retries
        self._http = http

    async def ask(
        self,
        request: Request,
        model: str,
        path: str,
        answer: type[T],
        body: Callable[[str], Any],
    ) -> T:
        """`body` makes the question from the id under which the worker knows the model."""
        return await self.ask_as_fits(
            request, model, lambda worker: Question(path, answer, body(worker.model))
        )

    async def ask_as_fits(
        self, request: Request, model: str, made: Callable[[WorkerBeat], Question[T]]
    ) -> T:
        """`made` makes the question for the worker that is found, by what it can."""
        asked = request.url.path.encode() + b"\n" + await request.body()
        attempts = self._retries.begin(asked)
        return await unless_gone(request, lambda: self._ask(Need(model), made, attempts))

    async def _ask(
        self, need: Need, made: Callable[[WorkerBeat], Question[T]], attempts: Attempts
    ) -> T:
        while True:
            self._retries.check(attempts)
            again = replace(need, declined_by=attempts.declined_by)
            async with self._dispatch.lease(
                again, lambda event: None, suspect=attempts.suspect, again=attempts.again
            ) as lease:
                found = await self._once(lease, made(lease.worker))
            if found is not None:
                self._retries.over(attempts)
                return found
            await anyio.sleep(await self._retries.after(attempts, lease))

    async def _once(self, lease: Lease, question: Question[T]) -> T | None:
        """The worker's answer; None when the lease was lost, or declined."""
        with lease.scope:
            try:
                return await self._put(lease.worker, question)
            except (Overloaded, Draining):
                self._dispatch.leases.declined(lease)
            except WorkerGone as exc:  # its own words: a connection that breaks is `Upstream`
                self._dispatch.leases.parted(lease, exc.message)
            except RbeeError as exc:
                if not broke(exc) or isinstance(exc, Late):  # slow is not gone
                    raise
                had_it = not isinstance(exc, Unavailable)
                self._dispatch.leases.broke(lease, exc.message, crash=had_it)
        return None

    async def _put(self, worker: WorkerBeat, question: Question[T]) -> T:
        url = worker.url + question.path
        found: T = await self._http.call(
            "POST", url, question.answer, question.body, timeout_s=ANSWER_S
        )
        return found
