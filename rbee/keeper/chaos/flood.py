"""More requests than can be answered: who is accepted finishes, who is not is told at once.

First as many clients ask as there are slots, one request after the other: that is the peak. Then
requests come ten times as fast as they could be answered, whether or not the ones before them were.
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
from rbee.keeper.chaos.outcome import Flood, Outcome, Strike
from rbee.keeper.chaos.plan import Scenario
from rbee.keeper.chaos.rounds import Stage

TIMES = 10
PEAK_S = FLOOD_S = 12.0
APART_S = 0.06
"""Between the first requests of the peak; in the flood they come about as far apart."""
EARLY = 1 / 3
"""Memory is looked at after this part of the flood, and at its end."""
MOST = 5_000
"""Requests of one flood at most."""
REFUSED = "overloaded"
TOKENS = 960
ASK = Ask("flood", "chat", {**CHAT, "max_tokens": TOKENS})


async def flood(scenario: Scenario, stage: Stage, n: int, seed: int, outcome: Outcome) -> None:
    """`n` floods, each after a measurement of the peak."""
    outcome.flood = flood = Flood()
    for _ in range(n):
        peak = await _as_many_as_fit(stage, scenario.shape.slots * len(stage.fleet.hives))
        tokens_s = rate_of(peak)
        flood.peak = max(flood.peak, tokens_s)
        outcome.strikes.append(Strike("a flood", time.monotonic()))
        heard = await _flooded(stage, TIMES * tokens_s / TOKENS, outcome)
        accepted = [one for one in heard if one.code != REFUSED]
        refusals = [one for one in heard if one.code == REFUSED]
        outcome.heard += accepted
        flood.goodput = rate_of([one for one in accepted if not one.code])
        flood.refused_s += [one.answered - one.began for one in refusals]
        flood.without_when += sum(1 for one in refusals if not one.retry_after)


def rate_of(heard: Sequence[Heard]) -> float:
    """Tokens a second, from the first question to the end of the last answer: whole answers, since
    a long one's end costs more than its beginning."""
    if not heard:
        return 0.0
    took = max(one.ended for one in heard) - min(one.began for one in heard)
    return TOKENS * len(heard) / took


async def _as_many_as_fit(stage: Stage, clients: int) -> list[Heard]:
    """Answers to as many clients as there are slots, each asking again and again."""
    heard: list[Heard] = []
    until = time.monotonic() + PEAK_S

    async def client() -> None:
        while time.monotonic() < until:
            one = Heard(ASK.name)
            heard.append(one)
            await stage.doors.listen(ASK, one)

    async with anyio.create_task_group() as group:
        for _ in range(clients):
            group.start_soon(client)
            await anyio.sleep(APART_S)
    return heard


async def _flooded(stage: Stage, rate: float, outcome: Outcome) -> list[Heard]:
    """Everything that was asked."""
    heard: list[Heard] = []
    began, memory = time.monotonic(), None
    async with anyio.create_task_group() as group:
        while (passed := time.monotonic() - began) < FLOOD_S and len(heard) < MOST:
            for _ in range(int(passed * rate) - len(heard)):
                one = Heard(ASK.name)
                heard.append(one)
                group.start_soon(stage.doors.listen, ASK, one)
            if memory is None and passed > FLOOD_S * EARLY:
                memory = Memory(stage.fleet.pids())
            await anyio.sleep(0.01)
        outcome.grown = memory.grown() if memory is not None else {}
    return heard
