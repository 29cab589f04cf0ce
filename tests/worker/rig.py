"""A service and an engine in this process, over the echo; and waiting for facts."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

from rbee.contracts.answers import InferAnswer
from rbee.contracts.events import AnyEvent
from rbee.contracts.operations import Infer
from rbee.worker.engine.engine import Engine
from rbee.worker.engine.writer import Update
from rbee.worker.service import Service
from rbee.worker.ticket import Ticket, whole
from tests.worker.echo import EchoBackend, echo_model

WITHIN_S = 10.0


@dataclass
class Rig:
    """What is running, and what was seen of it."""

    backend: EchoBackend
    engine: Engine
    service: Service
    published: list[tuple[int, list[Update]]] = field(default_factory=list)
    """Each crossing to the event loop, with the engine step it was made in."""
    deaths: list[str] = field(default_factory=list)

    async def begin(self, prompt: str | list[int], **fields: Any) -> Ticket:
        return await self.service.begin(Infer(model="echo", prompt=prompt, **fields))

    async def ask(self, prompt: str | list[int], **fields: Any) -> InferAnswer:
        """The whole answer, within a deadline."""
        with anyio.fail_after(WITHIN_S):
            return await whole(await self.begin(prompt, **fields))

    async def events(self, ticket: Ticket) -> list[AnyEvent]:
        """All events of a ticket, once it has ended."""
        with anyio.fail_after(WITHIN_S):
            while not ticket.log.ended:
                await ticket.log.wait(ticket.log.total)
        return list(ticket.log.since(0))

    async def idle(self) -> None:
        """Until every slot is free and nobody waits."""
        await until(lambda: self.engine.busy == 0 and self.engine.waiting == 0)
        assert self.service.jobs == []


@asynccontextmanager
async def running(
    slots: int = 4,
    context: int = 512,
    budget: int = 64,
    queue_limit: int = 1_000,
    pool: int = 0,
    **model: Any,
) -> AsyncIterator[Rig]:
    """A rig whose engine thread is joined at the end."""
    backend = EchoBackend(slots, context, pool)
    service = Service(echo_model(backend, **model), "echo-1", queue_limit)
    published: list[tuple[int, list[Update]]] = []
    deaths: list[str] = []

    def publish(updates: list[Update]) -> None:
        published.append((engine.steps, updates))
        service.publish(updates)

    engine = Engine(backend, budget, publish, deaths.append)
    service.attach(engine)
    engine.start()
    try:
        yield Rig(backend, engine, service, published, deaths)
    finally:
        backend.release()
        engine.stop()
    assert not any(t.name == "engine" and t.is_alive() for t in threading.enumerate())


async def until(fact: Callable[[], object], within_s: float = WITHIN_S) -> None:
    """Return when `fact()` is true; fail when it does not become so in time."""
    ends = time.monotonic() + within_s
    while not fact():
        assert time.monotonic() < ends, f"not so within {within_s} s"
        await anyio.sleep(0.002)
