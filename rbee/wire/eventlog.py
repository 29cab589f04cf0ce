"""The events of one answer: one writer, any number of readers, each with its own cursor.

Readers own no queue: they look into the log, so a slow reader costs nothing, and one that
attaches later sees the same events with the same numbers. The ring is bounded; a reader that
falls out of it is told so (`Gone`), never served a gap.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rbee.contracts.events import AnyEvent, Done, Failed
from rbee.errors import Gone

RING_EVENTS = 16_384


class EventLog:
    """Append-only until its last event, which is a `Done` or a `Failed`."""

    def __init__(self, ring: int = RING_EVENTS, first: int = 0) -> None:
        self._ring: deque[AnyEvent] = deque(maxlen=ring)
        self._readers: list[asyncio.Future[None]] = []
        """Those who wait."""
        self._listeners: list[Callable[[], None]] = []
        self.total = first
        """Events ever appended; the next one's number. The log of an answer that was begun
        elsewhere may begin later than with number 0."""
        self.last: Done | Failed | None = None

    def __repr__(self) -> str:
        return f"<EventLog {self.total} events, last {type(self.last).__name__}>"

    @property
    def ended(self) -> bool:
        return self.last is not None

    @property
    def first(self) -> int:
        """The number of the oldest event that is kept."""
        return self.total - len(self._ring)

    def append(self, *events: AnyEvent) -> None:
        """Add events and wake the readers. What comes after the end is dropped, for the answer is
        complete and its writer is being told so."""
        for event in events:
            if self.last is not None:
                break
            self._ring.append(event)
            self.total += 1
            if isinstance(event, Done | Failed):
                self.last = event
        self.wake()

    def wake(self) -> None:
        """Let every reader have a look: those who listen at once, those who wait soon."""
        for listener in self._listeners:
            listener()
        readers, self._readers = self._readers, []
        for reader in readers:
            if not reader.done():
                reader.set_result(None)

    def since(self, cursor: int) -> Sequence[AnyEvent]:
        """Events from number `cursor` on. Raises `Gone` when the ring no longer holds them."""
        if cursor < self.first:
            raise Gone(
                f"Events before number {self.first} are no longer kept;"
                f" number {cursor} was asked for.",
                hint="read faster, or ask without resuming",
            )
        behind = self.total - cursor
        if behind <= 0:
            return ()
        if behind == 1:
            return (self._ring[-1],)
        return list(self._ring)[-behind:]

    async def wait(self, cursor: int) -> None:
        """Return when event number `cursor` is there, or the log has ended."""
        while self.total <= cursor and self.last is None:
            await self.look()

    @contextmanager
    def heard_by(self, listener: Callable[[], None]) -> Iterator[None]:
        """Call `listener` at every `wake`, from within it: it must neither raise nor wait. The
        cheapest way to be told, which is once a token."""
        self._listeners = [*self._listeners, listener]
        try:
            yield
        finally:
            self._listeners = [known for known in self._listeners if known != listener]

    async def look(self) -> None:
        """Return at the next `wake`."""
        reader: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._readers.append(reader)
        await reader
