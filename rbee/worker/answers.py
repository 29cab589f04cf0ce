"""Answers by their job, for as long as somebody may come back for them.

1. An answer that a queen asked for goes on without a reader for its `grace_s`: she may have died,
   and the next queen attaches. Then it is cancelled.
2. One that has ended is kept as long, for its last words may not have reached anybody. Bounded in
   number, in events and in what their requests take; the oldest go first.
3. Nobody else's answers are here: whoever asks a worker himself cancels by closing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from rbee.errors import Cancelled, JobNotFound
from rbee.worker.ticket import Ticket

LEAVE_S = 0.1
KEPT = 256
KEPT_EVENTS = 20_000
"""Of all that have ended, together."""
KEPT_BYTES = 64 * 1024 * 1024
"""Of their requests: one with pictures may be megabytes."""


@dataclass(eq=False)
class Answer:
    """A ticket that outlives its readers."""

    ticket: Ticket
    grace_s: float
    size_bytes: int
    """Of its request."""
    readers: int = 0
    timer: asyncio.TimerHandle | None = None

    @property
    def ended(self) -> bool:
        return self.ticket.log.ended


class Answers:
    """The only owner of who may still be attached to. `changed` tells that `jobs` did."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._answers: dict[str, Answer] = {}
        """In the order of their arrival."""
        self._cancelled: deque[str] = deque(maxlen=KEPT)
        """Jobs that were cancelled before they had got so far as to be here."""
        self._changed = changed

    def __repr__(self) -> str:
        return f"<Answers {len(self._answers)}, {len(self._ended)} of them ended>"

    @property
    def ended(self) -> list[str]:
        """The jobs of those that are kept although they are complete."""
        return [answer.ticket.id for answer in self._ended]

    def add(self, ticket: Ticket, grace_s: float, size_bytes: int) -> None:
        """Keep a new answer. One of the same job is an earlier life of it, or another queen's: it
        ends with its reader, and can no more be attached to.
        Raises `Cancelled` when the queen has taken the job back meanwhile."""
        if ticket.id in self._cancelled:
            ticket.cancel()
            raise Cancelled("The job was cancelled.")
        earlier = self._answers.get(ticket.id)
        if earlier is None or not earlier.readers:
            self.cancel(ticket.id)
        self._answers[ticket.id] = Answer(ticket, grace_s, size_bytes)
        self._forget_old()

    def find(self, job_id: str) -> Ticket:
        """Raises `JobNotFound`."""
        found = self._answers.get(job_id)
        if found is None:
            raise JobNotFound(f"This worker has no job {job_id[:80]!r}.")
        return found.ticket

    def attach(self, ticket: Ticket) -> None:
        """A reader came; every `attach` has its `release`."""
        answer = self._of(ticket)
        if answer is not None:
            answer.readers += 1
            self._stop_timer(answer)

    def release(self, ticket: Ticket) -> None:
        """A reader left, or has read all."""
        answer = self._of(ticket)
        if answer is None:
            ticket.cancel()
            return
        answer.readers -= 1
        if answer.readers == 0:
            loop = asyncio.get_running_loop()
            answer.timer = loop.call_later(answer.grace_s, self.cancel, ticket.id)

    def cancel(self, job_id: str, *, early: bool = False) -> None:
        """End an answer and forget it. `early`: one that is not here may be about to come."""
        answer = self._answers.pop(job_id, None)
        if answer is not None:
            self._stop_timer(answer)
            answer.ticket.cancel()
            self._changed()
        elif early:
            self._cancelled.append(job_id)

    def leave(self, job_id: str) -> None:
        """A queen's reader has left for good: end the answer, unless another one reads it when that
        queen's own stream has been seen to close."""
        answer = self._answers.get(job_id)
        if answer is None:
            self.cancel(job_id, early=True)
        else:
            asyncio.get_running_loop().call_later(LEAVE_S, self._end_unread, answer)

    def _end_unread(self, answer: Answer) -> None:
        if self._of(answer.ticket) is answer and not answer.readers:
            self.cancel(answer.ticket.id)

    def close(self) -> None:
        """Forget all; their tickets are somebody else's to end."""
        for answer in self._answers.values():
            self._stop_timer(answer)
        self._answers.clear()

    @property
    def _ended(self) -> list[Answer]:
        return [answer for answer in self._answers.values() if answer.ended]

    def _of(self, ticket: Ticket) -> Answer | None:
        answer = self._answers.get(ticket.id)
        return answer if answer is not None and answer.ticket is ticket else None

    def _forget_old(self) -> None:
        """Keep the newest of those that have ended and have no reader, within the bounds."""
        left, events, size = KEPT, KEPT_EVENTS, KEPT_BYTES
        for answer in reversed(self._ended):
            left -= 1
            events -= answer.ticket.log.total - answer.ticket.log.first
            size -= answer.size_bytes
            if min(left, events, size) < 0 and not answer.readers:
                self.cancel(answer.ticket.id)

    @staticmethod
    def _stop_timer(answer: Answer) -> None:
        if answer.timer is not None:
            answer.timer.cancel()
            answer.timer = None
