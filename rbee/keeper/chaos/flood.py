"""More requests than can be answered: who is accepted finishes, who is not is told at once.

First as many clients ask as there are slots, one request after the other: that is the peak. Then
requests come much faster than they could be answered, whether or not the ones before them were.
Answers take some seconds, as a model's do: what asking and refusing cost is then small beside them,
though clients, queen and workers share the machine.

What counts is what came: an answer that was cut, or is another one, counts as far as it is the one
that was given undisturbed, and is also told as such.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

import anyio

from rbee.errors import Upstream
from rbee.keeper.chaos.asks import LONGER, Ask
from rbee.keeper.chaos.compare import common
from rbee.keeper.chaos.heard import Heard
from rbee.keeper.chaos.memory import Memory
from rbee.keeper.chaos.outcome import Flooded, Outcome, Strike
from rbee.keeper.chaos.plan import Flood, Reference, Scenario
from rbee.keeper.chaos.rounds import Stage, undisturbed

APART_S = 0.06
"""Between the first requests of the peak; in the flood they come about as far apart."""
EARLY = 1 / 3
"""Memory is looked at after this part of the flood, and at its end."""
MOST = 5_000
"""Requests of one flood at most."""
REFUSED = "overloaded"
NAME = "flood"


async def flood(scenario: Scenario, stage: Stage, n: int, seed: int, outcome: Outcome) -> None:
    """`n` floods, each after a measurement of the peak."""
    (event,) = scenario.events
    assert isinstance(event, Flood)
    outcome.flood = measured = Flooded()
    slots = scenario.shape.slots * len(stage.fleet.hives)
    known = await _reference(event, stage, outcome)
    for _ in range(n):
        peak = rate_of(await _as_many_as_fit(event, stage, slots, outcome), known)
        _judge(outcome, known)
        outcome.strikes.append(Strike("a flood", time.monotonic()))
        heard = await _flooded(event, stage, event.times * peak / event.tokens, outcome)
        accepted = [one for one in heard if one.code != REFUSED]
        outcome.heard += accepted
        measured.peaks.append(peak)
        measured.goodputs.append(rate_of(accepted, known))
        _judge(outcome, known)
        refusals = [one for one in heard if one.code == REFUSED]
        measured.refused_s += [one.answered - one.sent for one in refusals]
        measured.without_when += sum(1 for one in refusals if not one.retry_after)


def rate_of(heard: Sequence[Heard], reference: Reference) -> float:
    """Tokens a second, from the first question to the end of the last answer, of answers that ended
    well: whole ones are awaited, since a long one's end costs more than its beginning."""
    if not (well := [one for one in heard if not one.code]):
        return 0.0
    took = max(one.ended for one in well) - min(one.began for one in well)
    return sum(tokens_of(one.text(), reference) for one in well) / took


def tokens_of(text: str, reference: Reference) -> int:
    """How many tokens of the undisturbed answer have come, to the first difference."""
    said = common(text, reference.texts[0])
    ends = reference.ends[0]
    place = bisect_right(ends, said, key=lambda end: end[1])
    return ends[place - 1][0] if place else 0


async def _reference(event: Flood, stage: Stage, outcome: Outcome) -> Reference:
    """The answer undisturbed. By the SDK's door as well, which numbers its tokens."""
    ask = _ask(event)
    numbered = replace(ask, name="sdk flood", door="sdk")
    found = await undisturbed([numbered, ask], stage.doors, outcome)
    if len(found) < 2 or found[ask.name].texts != found[numbered.name].texts:
        raise Upstream("The answer that is asked for varies by itself: nothing can be counted.")
    return found[numbered.name]


def _judge(outcome: Outcome, known: Reference) -> None:
    outcome.judge({NAME: known}, {NAME: False})


def _ask(event: Flood) -> Ask:
    return Ask(NAME, "chat", {**LONGER, "max_tokens": event.tokens})


async def _as_many_as_fit(
    event: Flood, stage: Stage, clients: int, outcome: Outcome
) -> list[Heard]:
    """Answers to as many clients as there are slots, each asking again and again."""
    heard: list[Heard] = []
    ask, until = _ask(event), time.monotonic() + event.peak_s

    async def client() -> None:
        while time.monotonic() < until:
            one = Heard(ask.name)
            heard.append(one)
            outcome.heard.append(one)
            await stage.doors.listen(ask, one)

    async with anyio.create_task_group() as group:
        for _ in range(clients):
            group.start_soon(client)
            await anyio.sleep(APART_S)
    return heard


async def _flooded(event: Flood, stage: Stage, rate: float, outcome: Outcome) -> list[Heard]:
    """Everything that was asked."""
    heard: list[Heard] = []
    ask, began, memory = _ask(event), time.monotonic(), None
    async with anyio.create_task_group() as group:
        while (passed := time.monotonic() - began) < event.flood_s and len(heard) < MOST:
            for _ in range(int(passed * rate) - len(heard)):
                one = Heard(ask.name)
                heard.append(one)
                group.start_soon(stage.doors.listen, ask, one)
            if memory is None and passed > event.flood_s * EARLY:
                memory = Memory(stage.fleet.pids())
            await anyio.sleep(0.01)
        outcome.grew(memory.grown() if memory is not None else {})
    return heard
