"""What one client heard of one answer, with the time of everything; it judges nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import anyio


@dataclass(frozen=True)
class Piece:
    """Text that came at once."""

    at: float
    choice: int
    text: str
    index: int | None = None
    """How many tokens of this choice came before, where the dialect tells."""
    tokens: int = 0
    scored: int = 0


@dataclass
class Heard:
    """One answer; written by its client alone."""

    ask: str
    began: float = field(default_factory=time.monotonic)
    """When its client first wanted it: patience counts from then."""
    sent: float = 0.0
    """When it was last asked, where a door tells."""
    job_id: str = ""
    pieces: list[Piece] = field(default_factory=list)
    migrations: int = 0
    code: str = ""
    """Of the error that it ended with."""
    message: str = ""
    retry_after: str = ""
    answered: float = 0.0
    """When the head of the answer came."""
    again: int = 0
    """How often it was turned away before it began, and asked again."""
    ended: float = 0.0
    _waiting: list[tuple[int, anyio.Event]] = field(default_factory=list)

    def __repr__(self) -> str:
        state = self.code or ("ended" if self.ended else "running")
        return f"<Heard {self.ask} {self.job_id} {len(self.pieces)} pieces, {state}>"

    def accepted(self, job_id: str) -> None:
        self.job_id, self.answered = job_id, time.monotonic()

    def piece(
        self, choice: int, text: str, index: int | None = None, tokens: int = 0, scored: int = 0
    ) -> None:
        self.pieces.append(Piece(time.monotonic(), choice, text, index, tokens, scored))
        self._tell()

    def failed(self, code: str, message: str) -> None:
        self.code, self.message = code, message

    def end(self) -> None:
        """Nothing more will come. Idempotent."""
        self.ended = self.ended or time.monotonic()
        self._tell()

    async def reaches(self, pieces: int) -> bool:
        """Wait for that many pieces; False when it ended before."""
        if not self.ended and len(self.pieces) < pieces:
            event = anyio.Event()
            self._waiting.append((pieces, event))
            await event.wait()
        return not self.ended

    def _tell(self) -> None:
        for pieces, event in self._waiting:
            if self.ended or len(self.pieces) >= pieces:
                event.set()
        self._waiting = [(p, event) for p, event in self._waiting if not event.is_set()]

    def text(self, choice: int = 0) -> str:
        return "".join(piece.text for piece in self.pieces if piece.choice == choice)

    @property
    def choices(self) -> list[int]:
        return sorted({piece.choice for piece in self.pieces})


def pause_s(heard: Heard) -> float:
    """The longest time between two pieces."""
    return max((b - a for a, b in _gaps(heard.pieces)), default=0.0)


def standstill_s(heard: Heard, at: float) -> float | None:
    """How long nothing came after `at`: the longest time without a piece that began or went on
    then. What was on its way already does not count as going on. None: nothing came any more."""
    stops = [b - max(a, at) for a, b in _gaps(heard.pieces) if b > at]
    return max(stops, default=None)


def silence_s(heard: Heard, at: float) -> float:
    """The longest time after `at` in which nothing was heard of an answer that has ended: also
    before it began to say something, and before its end."""
    marks = [heard.began, *(piece.at for piece in heard.pieces), heard.ended]
    return max((b - max(a, at) for a, b in pairwise(marks) if b > at), default=0.0)


def _gaps(pieces: Sequence[Piece]) -> Iterator[tuple[float, float]]:
    for before, after in pairwise(pieces):
        yield before.at, after.at
