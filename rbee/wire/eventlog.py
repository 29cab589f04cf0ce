"""The events of one answer: one writer, any number of readers, each with its own cursor.

Readers own no queue: they look into the log, so a slow reader costs nothing, and one that
attaches later sees the same events with the same numbers. The ring is bounded; a reader that
falls out of it is told so (`Gone`), never served a gap.

Before that the writer is told (`on_lag`) that the slowest of those who read along is far behind,
and when that is over: he may pause. A log without readers has nobody to wait for.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from rbee.contracts.events import AnyEvent, Done, Failed
from rbee.errors import Gone

RING_EVENTS = 16_384
PAUSE_EVENTS = 1_024
"""How far behind the slowest reader may be before the writer is told; half of it, and he has caught
up."""


class Reader:
    """One who reads along: the number of the event that he takes next, and how he is told that
    there is more."""

    __slots__ = ("cursor", "hear")

    def __init__(self, cursor: int, hear: Callable[[], None]) -> None:
        self.cursor = cursor
        self.hear = hear

    def __repr__(self) -> str:
        return f"<Reader at {self.cursor}>"


class EventLog:
    """Append-only until its last event, which is a `Done` or a `Failed`."""

    def __init__(self, ring: int = RING_EVENTS, first: int = 0) -> None:
        self._ring: deque[AnyEvent] = deque(maxlen=ring)
        self._waiting: list[asyncio.Future[None]] = []
        """Those who wait for the next `wake`."""
        self._readers: list[Reader] = []
        self._due = sys.maxsize
        """Before `total` is more than this nobody can be too far behind."""
        self.lagging = False
        self.on_lag: Callable[[bool], None] = lambda lagging: None
        """Told when `lagging` has changed, from within `append` or a reader's progress: it must
        neither raise nor wait."""
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

    @property
    def taken(self) -> int:
        """How far those who read along are, together."""
        return sum(reader.cursor for reader in self._readers)

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
        if self.total > self._due:
            self.weigh()

    def wake(self) -> None:
        """Let every reader have a look: those who read along at once, those who wait soon."""
        for reader in self._readers:
            reader.hear()
        self._wake_waiting()

    def _wake_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    def weigh(self) -> None:
        """See how far behind the slowest reader is, and tell the writer when that matters. For
        readers that get on while the log is `lagging`."""
        slowest = min((reader.cursor for reader in self._readers), default=self.total)
        most = PAUSE_EVENTS // 2 if self.lagging else PAUSE_EVENTS
        lagging = not self.ended and self.total - slowest > most
        self._due = slowest + PAUSE_EVENTS if self._readers and not lagging else sys.maxsize
        if lagging != self.lagging:
            self.lagging = lagging
            self.on_lag(lagging)
            if not lagging:
                self._wake_waiting()

    async def caught_up(self) -> None:
        """Return when no reader is far behind, or the log has ended."""
        while self.lagging and self.last is None:
            await self.look()

    def since(self, cursor: int, most: int | None = None) -> Sequence[AnyEvent]:
        """Events from number `cursor` on, or the first `most` of them. Raises `Gone` when the ring
        no longer holds them."""
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
        start = cursor - self.first
        return list(islice(self._ring, start, None if most is None else start + most))

    async def wait(self, cursor: int) -> None:
        """Return when event number `cursor` is there, or the log has ended."""
        while self.total <= cursor and self.last is None:
            await self.look()

    @contextmanager
    def read_by(self, reader: Reader) -> Iterator[None]:
        """Call `reader.hear` at every `wake`, from within it: it must neither raise nor wait. The
        cheapest way to be told, which is once a token. The writer is told when he lags."""
        self._readers = [*self._readers, reader]
        if not self.lagging:
            self._due = min(self._due, reader.cursor + PAUSE_EVENTS)
        try:
            yield
        finally:
            self._readers = [known for known in self._readers if known is not reader]
            self.weigh()

    async def look(self) -> None:
        """Return at the next `wake`, or when the readers have caught up."""
        one: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(one)
        await one
