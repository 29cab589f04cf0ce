"""The wire between one queen and the workers of `sim_workers`: her `Http`, as it truly behaves.

Connections break, end or stall when they are told to, and when the worker at their end dies; what
is raised is what the real one raises. Hives are not asked anything here.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import anyio

from rbee.contracts.events import Token
from rbee.contracts.worker_api import Generate
from rbee.errors import (
    Cancelled,
    Draining,
    JobNotFound,
    Late,
    Overloaded,
    ServerGone,
    Upstream,
)
from rbee.queen.fleet import Seat
from rbee.wire.http import CONNECT_S, SILENCE_S, Http
from tests.queen.sim_workers import Answer, Worker

Fault = Literal["broken", "ended", "stalled"]
UNREAD = "?unread=true"
"""Ends an answer only if nobody else reads it."""
_PLACE = re.compile(r"http://(\w+)-(\d+):1/v1/answers(?:/([\w-]+))?(?:/stream\?from=(\d+))?")


@dataclass(eq=False)
class Connection:
    """One stream of a worker's words."""

    worker: Worker
    seat: Seat
    job_id: str
    worked: Callable[[Seat], None]
    """Called when tokens come over it."""
    fault: Fault | None = None
    tokens: int = 0
    """That came over it."""
    _patient_until: float = math.inf
    _stir: anyio.Event = field(default_factory=anyio.Event)

    def __repr__(self) -> str:
        return f"<Connection to {self.seat} for {self.job_id}>"

    @property
    def dead(self) -> bool:
        return not self.worker.alive or self.worker.seat != self.seat

    def stir(self) -> None:
        self._stir.set()
        self._stir = anyio.Event()

    def strike(self, fault: Fault) -> None:
        self.fault = fault
        self._patient_until = anyio.current_time() + SILENCE_S if fault == "stalled" else math.inf
        self.stir()

    async def words(self, answer: Answer, number: int) -> AsyncIterator[list[Any]]:
        """As many at a time as there are."""
        events: list[Any] = [answer.begun(self.worker.name, number, whole=False)]
        while True:
            events += answer.log.since(number)
            if events:
                number = answer.log.total
                tokens = sum(isinstance(event, Token) for event in events)
                self.tokens += tokens
                if tokens:
                    self.worked(self.seat)
                yield events
            if answer.log.ended or not await self._more(answer, number):
                return
            events = []

    async def _more(self, answer: Answer, number: int) -> bool:
        """Wait for event `number`; False at the end."""
        while True:
            if self.dead or self.fault == "broken":
                raise Upstream(f"The connection to {self.worker.url} broke (drawn).")
            if self.fault == "ended":
                return False
            if self.fault is None and (answer.log.total > number or answer.log.ended):
                return True
            with anyio.CancelScope(deadline=self._patient_until) as waiting:
                await self._stir.wait()
            if waiting.cancelled_caught:
                raise Late(f"{self.worker.url} said nothing in time.")


class Wire(Http):
    """`opened` is told of every connection that is asked to compute; `failed` of those that broke
    before anything came over them, and (uncertain) of those that were left."""

    def __init__(
        self,
        workers: Mapping[str, Worker],
        opened: Callable[[Connection], None],
        failed: Callable[[Connection, bool], None],
        worked: Callable[[Seat], None],
    ) -> None:
        super().__init__()
        self._workers = workers
        self._opened = opened
        self._failed = failed
        self._worked = worked
        self.connections: list[Connection] = []
        self.wrong: list[AssertionError] = []
        """What should not have been asked: a job that crashes of it tells nobody."""
        self.cut = False
        """The queen is dead."""

    def to(self, place: Seat) -> list[Connection]:
        return [c for c in self.connections if c.seat == place]

    @asynccontextmanager
    async def events(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        kind: Any = None,
        connect_s: float = CONNECT_S,
        silence_s: float = SILENCE_S,
        headers: Mapping[str, str] | None = None,
        on_headers: Callable[[Mapping[str, str]], None] | None = None,
    ) -> AsyncIterator[AsyncIterator[list[Any]]]:
        place, job_id, number = _at(url)
        worker = self._workers[place[0]]
        connection = Connection(worker, place, job_id or body.job_id, self._worked)
        answer: Answer | None = None
        try:
            if method == "POST":
                self._opened(connection)
            self.connections.append(connection)
            self._reach(place)
            answer = self._begin(worker, body) if method == "POST" else self._find(worker, job_id)
            worker.attach(answer)
            words = connection.words(answer, answer.start if number is None else number)
            yield words
            await words.aclose()  # type: ignore[attr-defined]
        except (Upstream, ServerGone, Late, JobNotFound):
            if not connection.tokens:
                self._failed(connection, True)
            raise
        except anyio.get_cancelled_exc_class():
            self._failed(connection, False)
            raise
        except AssertionError as exc:
            self.wrong.append(exc)
            raise
        finally:
            if connection in self.connections:
                self.connections.remove(connection)
            if answer is not None:
                worker.release(connection.job_id, answer)

    async def call(
        self,
        method: str,
        url: str,
        answer: Any,
        body: Any = None,
        *,
        timeout_s: float = 10.0,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        place, job_id, _ = _at(url)
        worker = self._workers[place[0]]
        await anyio.lowlevel.checkpoint()
        self._reach(place)
        if method == "DELETE":
            read = job_id in worker.answers and worker.answers[job_id].readers > 0
            if not (read and url.endswith(UNREAD)):
                worker.end(job_id, Cancelled("The job was cancelled."))
            return {"deleted": job_id}
        found = self._find(worker, job_id)
        return found.begun(worker.name, found.log.first, whole=True)

    def _reach(self, place: Seat) -> None:
        worker = self._workers[place[0]]
        if self.cut or not worker.alive or worker.seat != place:
            raise ServerGone(f"Nothing answers at {worker.url}: drawn.")

    def _begin(self, worker: Worker, asked: Generate) -> Answer:
        if worker.draining:
            raise Draining("This worker finishes what it has, no more.", retry_after_s=1.0)
        if worker.full:
            raise Overloaded("No room here.", retry_after_s=1.0)
        return worker.take(asked)

    def _find(self, worker: Worker, job_id: str) -> Answer:
        found = worker.answers.get(job_id)
        if found is None:
            raise JobNotFound(f"This worker has no job {job_id!r}.")
        return found


def _at(url: str) -> tuple[Seat, str, int | None]:
    """Whose address it is, and which answer's; each life of a worker has a port of its own."""
    found = _PLACE.fullmatch(url.removesuffix(UNREAD))
    assert found is not None, url
    name, life, job_id, number = found.groups()
    return (name, life), job_id or "", None if number is None else int(number)
