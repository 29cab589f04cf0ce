"""What must be true when a scenario is over: each check by its name, and the first reasons why not.
Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from rbee.keeper.chaos.outcome import Outcome, p99
from rbee.keeper.chaos.plan import Check, Scenario

QUICK_S = 7.0
"""A worker that stands still is out of rotation within 5 s, and its answers move at once."""
REFUSAL_S = 0.05
GOODPUT = 0.95
GROWTH = 1.1
"""Memory that is flat may still be a tenth more than it was."""
SHOWN = 3
Reasons = Iterator[str]


def reasons(scenario: Scenario, outcome: Outcome) -> list[str]:
    """Why the scenario did not pass; none when it did."""
    found = [why for check in scenario.checks for why in CHECKS[check](outcome)]
    found += outcome.wrong[:SHOWN]
    return found + [why for strike in outcome.strikes for why in strike.wrong][:SHOWN]


def finished(outcome: Outcome) -> Reasons:
    """Every request ended well, and there were some."""
    if not outcome.heard and not outcome.recoveries_s:
        yield "nothing was asked"
    failed = outcome.failed
    if failed:
        codes = ", ".join(f"{n} {code}" for code, n in Counter(h.code for h in failed).items())
        yield f"{len(failed)} of {len(outcome.heard)} failed ({codes}): {failed[0].message}"


def same(outcome: Outcome) -> Reasons:
    """No character was lost, repeated, or is another one."""
    lost = sum(loss.lost for loss in outcome.losses)
    repeated = sum(loss.repeated for loss in outcome.losses)
    differing = [loss.differs for loss in outcome.losses if loss.differs]
    if lost or repeated:
        yield f"{lost} characters lost, {repeated} repeated"
    if differing:
        yield f"{len(differing)} answers differ: {differing[0]}"


def moved(outcome: Outcome) -> Reasons:
    """Every answer that was hit has gone on elsewhere, and its client was told so."""
    seen = [s.victim for s in outcome.strikes if s.victim and not s.victim.code]
    still = [heard for heard in seen if not heard.migrations]
    if still:
        yield f"{len(still)} answers whose worker was lost say that they never moved"


def stayed(outcome: Outcome) -> Reasons:
    """No answer had to move: its worker was never touched."""
    moved_on = [heard for heard in outcome.heard if heard.migrations]
    if moved_on:
        yield f"{len(moved_on)} answers moved although no worker was lost"


def quick(outcome: Outcome) -> Reasons:
    """No answer of a round stood still for long, whether it was aimed at or not."""
    worst = max((s.silence_s for s in outcome.strikes if s.silence_s is not None), default=0.0)
    if worst > QUICK_S:
        yield f"an answer stood still for {worst:.1f} s, not {QUICK_S:.0f} s at most"


def hit(outcome: Outcome) -> Reasons:
    """It really happened, in the middle of an answer, as often as wanted."""
    if len(outcome.strikes) < outcome.wanted:
        yield f"only {len(outcome.strikes)} of {outcome.wanted} came in the middle of an answer"


def welcome(outcome: Outcome) -> Reasons:
    """While only hives were replaced the queen was there, and nobody had to ask again."""
    tries = sum(s.asked_again for s in outcome.strikes if s.act == "replace-hives")
    if tries:
        yield f"{tries} times somebody had to try again while only hives were replaced"


def refused(outcome: Outcome) -> Reasons:
    """Who is not answered is told so at once, with the time to come back; and the others get as
    much as if nobody else had asked."""
    flood = outcome.flood
    if flood is None or not flood.refused_s:
        yield "nobody was refused: it was no overload"
        return
    if (took := p99(flood.refused_s)) > REFUSAL_S:
        yield f"refusals took {took * 1_000:.0f} ms (p99), not {REFUSAL_S * 1_000:.0f} at most"
    if flood.without_when:
        yield f"{flood.without_when} refusals without Retry-After"
    peak = max(flood.peaks, default=0.0)
    if not peak:
        yield "nothing was answered before the flood: there is no peak"
    elif (worst := min(flood.goodputs)) < GOODPUT * peak:
        yield f"goodput fell to {worst / peak:.0%} of its peak"


def flat(outcome: Outcome) -> Reasons:
    """No process grew."""
    for who, ratio in outcome.grown.items():
        if ratio > GROWTH:
            yield f"the memory of {who} grew to {ratio:.2f} of what it was"


CHECKS: Mapping[Check, Callable[[Outcome], Reasons]] = {
    "finished": finished,
    "same": same,
    "moved": moved,
    "stayed": stayed,
    "quick": quick,
    "refused": refused,
    "flat": flat,
    "hit": hit,
    "welcome": welcome,
}
