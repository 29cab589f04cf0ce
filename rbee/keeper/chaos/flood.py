"""More requests than can be answered: who is accepted finishes, who is not is told at once.

First as many clients ask as there are slots, one request after the other: that is the peak. Then
requests come much faster than they could be answered, whether or not the ones before them were.
Answers take some seconds, as a model's do: what asking and refusing cost is then small beside them,
though clients, queen and workers share the machine.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import anyio

from rbee.keeper.chaos.asks import CHAT, Ask
from rbee.keeper.chaos.heard import Heard
from rbee.keeper.chaos.memory import Memory
from rbee.keeper.chaos.outcome import Flooded, Outcome, Strike
from rbee.keeper.chaos.plan import Flood, Scenario
from rbee.keeper.chaos.rounds import Stage

APART_S = 0.06
"""Between the first requests of the peak; in the flood they come about as far apart."""
EARLY = 1 / 3
"""Memory is looked at after this part of the flood, and at its end."""
MOST = 5_000
"""Requests of one flood at most."""
REFUSED = "overloaded"


async def flood(scenario: Scenario, stage: Stage, n: int, seed: int, outcome: Outcome) -> None:
    """`n` floods, each after a measurement of the peak."""
    (event,) = scenario.events
    assert isinstance(event, Flood)
    outcome.flood = measured = Flooded()
    slots = scenario.shape.slots * len(stage.fleet.hives)
    for _ in range(n):
        peak = rate_of(await _as_many_as_fit(event, stage, slots), event.tokens)
        measured.peak = max(measured.peak, peak)
        outcome.strikes.append(Strike("a flood", time.monotonic()))
        heard = await _flooded(event, stage, event.times * peak / event.tokens, outcome)
        accepted = [one for one in heard if one.code != REFUSED]
        refusals = [one for one in heard if one.code == REFUSED]
        outcome.heard += accepted
        measured.goodput = rate_of([one for one in accepted if not one.code], event.tokens)
        measured.refused_s += [one.answered - one.began for one in refusals]
        measured.without_when += sum(1 for one in refusals if not one.retry_after)


def rate_of(heard: Sequence[Heard], tokens: int) -> float:
    """Tokens a second, from the first question to the end of the last answer: whole answers, since
    a long one's end costs more than its beginning."""
    if not heard:
        return 0.0
    took = max(one.ended for one in heard) - min(one.began for one in heard)
    return tokens * len(heard) / took


def _ask(event: Flood) -> Ask:
    return Ask("flood", "chat", {**CHAT, "max_tokens": event.tokens})


async def _as_many_as_fit(event: Flood, stage: Stage, clients: int) -> list[Heard]:
    """Answers to as many clients as there are slots, each asking again and again."""
    heard: list[Heard] = []
    ask, until = _ask(event), time.monotonic() + event.peak_s

    async def client() -> None:
        while time.monotonic() < until:
            one = Heard(ask.name)
            heard.append(one)
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
        outcome.grown = memory.grown() if memory is not None else {}
    return heard
