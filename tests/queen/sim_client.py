"""A client of the survival machine: what it has read so far, and whether that is right."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import currently_in_test_context, event

from rbee.contracts.events import AnyEvent, Done, Failed, Moved, Prompt, Token
from rbee.contracts.operations import Infer
from rbee.queen.attempts import MAX_LOST
from rbee.wire.eventlog import EventLog
from rbee.wire.jobs import Job
from tests.queen.sim_queen import Queen
from tests.queen.sim_workers import Answer, ids_of, said


def seen(what: str) -> None:
    """For the statistics of what was drawn."""
    if currently_in_test_context():
        event(what)


@dataclass(eq=False)
class Client:
    """One that reads its answer, attaches again when it lost the queen, or leaves."""

    infer: Infer
    poison: bool
    job_id: str
    job: Job | None = None
    """What it reads; None while it has no connection."""
    seen: list[AnyEvent] = field(default_factory=list)
    away_at: float | None = None
    orphaned: bool = False
    """It may have been away for too long."""
    left: bool = False
    unwanted: list[Answer] = field(default_factory=list)
    """What was being written for it when it left."""
    given_up: bool = False
    """No queen knew of its job any more, or only of an earlier life of it."""
    others: list[EventLog] = field(default_factory=list)
    """What workers had of it when a queen was asked for it."""
    doubts: bool = False
    """It attached to another queen, and has not seen yet that this is what it read."""
    lied_to: bool = False
    kills: Counter[Queen] = field(default_factory=Counter)

    @property
    def end(self) -> Done | Failed | None:
        last = self.seen[-1] if self.seen else None
        return last if isinstance(last, Done | Failed) else None

    @property
    def over(self) -> bool:
        return self.left or self.given_up or self.end is not None

    def read(self) -> None:
        """What has come, from where it stands."""
        if self.job is not None and not self.over and not self.doubts:
            self.seen += self.job.log.since(len(self.seen))

    def same(self, log: EventLog) -> bool:
        """Whether this is, as far as it goes, what was read."""
        first = log.first
        return self.seen[first : log.total] == list(log.since(first))[: len(self.seen) - first]

    def continued_by(self, log: EventLog) -> bool:
        return log.total >= len(self.seen) and self.same(log)

    def go(self, queen: Queen, now: float) -> None:
        """Its connection is lost."""
        if self.job is not None:
            queen.jobs.release(self.job)
            self.job, self.away_at = None, now

    def check(self) -> None:
        """Whatever it has read so far is the beginning of the answer, each token once."""
        for choice in range(self.infer.n):
            told = said(self.seen, choice)
            assert told == ids_of(self.infer, choice)[: len(told)]
        prompts = [at for at, e in enumerate(self.seen) if isinstance(e, Prompt)]
        tokens = [at for at, e in enumerate(self.seen) if isinstance(e, Token)]
        assert len(prompts) <= self.infer.echo, "the prompt is told once, where it was asked for"
        if tokens and self.infer.echo:
            assert prompts and prompts[0] < tokens[0]

    def check_end(self) -> None:
        end = self.end
        assert end is not None
        if isinstance(end, Done):
            for choice in range(self.infer.n):
                assert said(self.seen, choice) == ids_of(self.infer, choice)
            moves = [e.migrations for e in self.seen if isinstance(e, Moved)]
            assert moves == list(range(1, end.migrations + 1))
            seen(f"moved {end.migrations} times")
        else:
            assert self._deserved(end), f"{end.code}: {end.message}"
            seen(end.code)

    def _deserved(self, end: Failed) -> bool:
        begun = any(isinstance(e, Token | Prompt) for e in self.seen)
        match end.code:
            case "worker_gone":
                budget = not begun and "asked again already" in end.message
                full = "none of the others has room" in end.message
                return budget or full or f"the {MAX_LOST}th one" in end.message
            case "overloaded":
                return not begun
            case "cancelled":
                return self.orphaned
            case "deadline_exceeded":
                return self.infer.deadline_ms is not None
            case "internal_error":
                return self.lied_to
            case _:
                return end.code == "poison_request"
