"""What a scenario led to, and the row that is made of it. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rbee.keeper.chaos.compare import Loss, compare
from rbee.keeper.chaos.heard import Heard, pause_s
from rbee.keeper.chaos.plan import Reference


@dataclass
class Strike:
    """Something that was done to the fleet."""

    what: str
    at: float
    victim: Heard | None = None
    """The answer that it was aimed at."""
    standstill_s: float | None = None
    """How long that answer stood still; None: it never went on, or had ended."""
    wrong: list[str] = field(default_factory=list)
    """What was not as promised, as the act itself saw it."""
    act: str = ""
    asked_again: int = 0
    """How often clients had to try again until the next act, where acts follow one another."""
    silence_s: float | None = None
    """The longest time after it in which nothing came of any answer of the round."""


@dataclass
class Flooded:
    """What was measured of more requests than can be answered."""

    refused_s: list[float] = field(default_factory=list)
    """How long each refusal took."""
    without_when: int = 0
    """Refusals that did not say when to come back."""
    peaks: list[float] = field(default_factory=list)
    """Tokens a second of requests that finished, with just as many as there is room for."""
    goodputs: list[float] = field(default_factory=list)
    """The same under each flood."""


@dataclass
class Outcome:
    """Everything that was observed, by whoever ran the scenario."""

    wanted: int
    heard: list[Heard] = field(default_factory=list)
    strikes: list[Strike] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Promises not kept that belong to no single strike."""
    grown: dict[str, float] = field(default_factory=dict)
    """By process: its memory at the end, over what it was early on."""
    flood: Flooded | None = None
    recoveries_s: list[float] = field(default_factory=list)
    """Of scenarios whose recovery is not that of an answer."""
    losses: list[Loss] = field(default_factory=list)
    """One for each answer that ended well."""
    pauses_s: list[float] = field(default_factory=list)
    """One for each answer that came in several pieces."""
    judged: int = 0
    """How many of `heard` have been looked at."""

    def judge(self, references: Mapping[str, Reference], parses: Mapping[str, bool]) -> None:
        """Compare what has been heard since the last time with the undisturbed answers, all of it
        having ended. Its text is let go: a thousand rounds would keep too much."""
        for heard in self.heard[self.judged :]:
            if not heard.code and heard.ask in references:
                self.losses.append(compare(heard, references[heard.ask], parses[heard.ask]))
            if len(heard.pieces) > 1:
                self.pauses_s.append(pause_s(heard))
            heard.pieces.clear()
        self.judged = len(self.heard)

    def grew(self, grown: Mapping[str, float]) -> None:
        """Memory was measured; of several times the worst counts."""
        for who, ratio in grown.items():
            self.grown[who] = max(ratio, self.grown.get(who, 0.0))

    @property
    def failed(self) -> list[Heard]:
        return [heard for heard in self.heard if heard.code]

    @property
    def standstills_s(self) -> list[float]:
        stops = [s.standstill_s for s in self.strikes if s.standstill_s is not None]
        return self.recoveries_s or stops


@dataclass(frozen=True)
class Row:
    """One line of the table; times in milliseconds, null where there is nothing to tell."""

    scenario: str
    events: int
    requests: int
    failed: int
    lost: int
    repeated: int
    differing: int
    """Answers whose text is another one without being lost or repeated."""
    pause_p99_ms: float | None
    recovery_ms: float | None
    recovery_p99_ms: float | None
    passed: bool
    why: tuple[str, ...]
    """Why not."""
    asked_again: int = 0
    """How often a request was turned away before it began, and asked again."""
    asked_again_by: Mapping[str, int] = field(default_factory=dict)
    """By act, where acts follow one another: the same, and what the SDK tried again by itself."""
    pause_p50_ms: float | None = None
    pause_max_ms: float | None = None


def row(name: str, outcome: Outcome, reasons: Sequence[str]) -> Row:
    """The row of a scenario whose checks found `reasons` to fail."""
    pauses, stops = outcome.pauses_s, outcome.standstills_s
    return Row(
        scenario=name,
        events=len(outcome.strikes) or len(outcome.recoveries_s),
        requests=len(outcome.heard),
        failed=len(outcome.failed),
        lost=sum(loss.lost for loss in outcome.losses),
        repeated=sum(loss.repeated for loss in outcome.losses),
        differing=sum(1 for loss in outcome.losses if loss.differs),
        pause_p99_ms=_ms(p99(pauses)) if pauses else None,
        recovery_ms=_ms(statistics.median(stops)) if stops else None,
        recovery_p99_ms=_ms(p99(stops)) if stops else None,
        passed=not reasons,
        why=tuple(reasons),
        asked_again=sum(heard.again for heard in outcome.heard),
        asked_again_by=_by_act(outcome.strikes),
        pause_p50_ms=_ms(statistics.median(pauses)) if pauses else None,
        pause_max_ms=_ms(max(pauses)) if pauses else None,
    )


def _by_act(strikes: Sequence[Strike]) -> dict[str, int]:
    found: dict[str, int] = {}
    for strike in strikes:
        if strike.act:
            found[strike.act] = found.get(strike.act, 0) + strike.asked_again
    return found


def p99(values: Sequence[float]) -> float:
    """The smallest value that 99 of 100 do not exceed; of fewer than a hundred the largest."""
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


def _ms(seconds: float) -> float:
    return round(seconds * 1_000, 1)
