"""Short questions to a worker that holds a model: vectors, tokens. Each takes a slot meanwhile.

They change nothing, so one whose worker is gone is asked again elsewhere, at most `ATTEMPTS` times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from starlette.requests import Request

from rbee.contracts.fleet import WorkerBeat
from rbee.errors import Late, RbeeError
from rbee.queen.dispatch import Dispatch
from rbee.queen.registry import Registry
from rbee.queen.relay import broke, gone
from rbee.queen.scheduler import Need
from rbee.wire.gone import unless_gone
from rbee.wire.http import Http

T = TypeVar("T")
ANSWER_S = 300.0
ATTEMPTS = 3


@dataclass(frozen=True)
class Question(Generic[T]):
    """What is asked of a worker, and the type of what it answers."""

    path: str
    answer: type[T]
    body: Any


class Questions:
    """Asks a worker of the model, and nobody when the client has left."""

    def __init__(self, registry: Registry, dispatch: Dispatch, http: Http) -> None:
        self._registry = registry
        self._dispatch = dispatch
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
        return await unless_gone(request, lambda: self._ask(Need(model), made))

    async def _ask(self, need: Need, made: Callable[[WorkerBeat], Question[T]]) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            async with self._dispatch.lease(need, lambda event: None, again=attempt > 1) as lease:
                worker = lease.worker
                try:
                    return await self._once(worker, made(worker))
                except RbeeError as exc:
                    if not broke(exc) or isinstance(exc, Late):  # slow is not gone
                        raise
                    self._dispatch.leases.broke(lease)
                    if attempt == ATTEMPTS:
                        raise gone(worker, exc.message) from exc
        raise AssertionError("the last attempt returns or raises")

    async def _once(self, worker: WorkerBeat, question: Question[T]) -> T:
        url = worker.url + question.path
        found: T = await self._http.call(
            "POST", url, question.answer, question.body, timeout_s=ANSWER_S
        )
        return found
