"""Who comes in to a worker: its own model's requests, as long as there is room and it takes any.

Counts those that are not the engine's yet (in preparation) or never will be (for vectors); the
tickets are the service's, and are asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from anyio import CapacityLimiter

from rbee.contracts.chat import Message
from rbee.errors import Draining, ModelNotFound, Overloaded, WorkerGone
from rbee.wire.drain import read_to_the_end
from rbee.wire.eventlog import EventLog
from rbee.worker.prepare import LoadedModel
from rbee.worker.sight import pictures_in

LOOKING = 2
"""Requests whose pictures are being read at the same time. Each may take a few hundred megabytes,
and seconds, in which no thread is to be missing for requests without pictures."""


class Door:
    """`tickets` tells how many requests the engine has."""

    def __init__(self, model: LoadedModel, queue_limit: int, tickets: Callable[[], int]) -> None:
        self._model = model
        self._queue_limit = queue_limit
        self._tickets = tickets
        self._inside = 0
        self._reading: list[EventLog] = []
        self._looking = CapacityLimiter(LOOKING)
        self._closed = ""
        """Why nothing is taken any more."""
        self._draining = False
        self._left = asyncio.Event()
        """Set when something has ended."""

    def __repr__(self) -> str:
        return f"<Door {self._inside} inside{', closed' if self._closed else ''}>"

    def drain(self) -> None:
        """Take no more; what runs goes on. Idempotent."""
        self._draining = True

    def close(self, reason: str) -> None:
        """Take no more, and say why."""
        self._closed = reason

    def left(self) -> None:
        """Something has ended."""
        self._left.set()

    def reads(self, log: EventLog) -> None:
        """A stream of it begins to be read; `read` when it is over."""
        self._reading.append(log)

    def read(self, log: EventLog) -> None:
        self._reading.remove(log)

    async def emptied(self) -> None:
        """Return when nothing runs any more, and who reads along has read it to its end."""
        while self._tickets() or self._inside:
            self._left = asyncio.Event()
            await self._left.wait()
        await read_to_the_end(lambda: [log.taken for log in self._reading])

    @contextmanager
    def entered(self, model: str) -> Iterator[None]:
        """Counts a request that has no ticket. Raises when it asks for another model, when there is
        no room for it, or no more is taken."""
        self.check_model(model)
        self.check_open()
        if self._tickets() + self._inside >= self._model.slots + self._queue_limit:
            raise Overloaded(
                f"{self._queue_limit} requests are waiting already.", retry_after_s=1.0
            )
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            self.left()

    def check_open(self) -> None:
        if self._closed:
            raise WorkerGone(self._closed)
        if self._draining:
            raise Draining("This worker finishes what it has, no more.", retry_after_s=1.0)

    def check_model(self, name: str) -> None:
        model = self._model
        if name not in (model.id, model.path.name, str(model.path)):
            raise ModelNotFound(
                f"This worker runs {model.id!r}, not {name[:80]!r}.", path="$.model"
            )

    def limiter(self, messages: Sequence[Message] | None) -> CapacityLimiter | None:
        """How many threads such requests may take; None is the limit that all share."""
        return self._looking if messages and pictures_in(messages) else None
