"""More requests than can be answered: who is accepted finishes, who is not is told at once.

First as many clients ask as there are slots, one request after the other: that is the peak. Then
requests come ten times as fast as they could be answered, whether or not the ones before them were.
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
PEAK_S, FLOOD_S = 6.0, 12.0
EARLY = 1 / 3
"""Memory is looked at after this part of the flood, and at its end."""
MOST = 5_000
"""Requests of one flood at most."""
REFUSED = "overloaded"
ASK = Ask("flood", "chat", CHAT)


async def flood(scenario: Scenario, stage: Stage, n: int, seed: int, outcome: Outcome) -> None:
    """`n` floods, each after a measurement of the peak."""
    outcome.flood = flood = Flood()
    for _ in range(n):
        peak = await _as_many_as_fit(stage, scenario.shape.slots * len(stage.fleet.hives))
        flood.peak = max(flood.peak, rate_of(peak, PEAK_S))
        outcome.strikes.append(Strike("a flood", time.monotonic()))
        ended = sum(1 for one in peak if one.ended - peak[0].began < PEAK_S)
        heard = await _flooded(stage, TIMES * ended / PEAK_S, outcome)
        accepted = [one for one in heard if one.code != REFUSED]
        refusals = [one for one in heard if one.code == REFUSED]
        outcome.heard += accepted
        flood.goodput = rate_of([one for one in accepted if not one.code], FLOOD_S)
        flood.refused_s += [one.answered - one.began for one in refusals]
        flood.without_when += sum(1 for one in refusals if not one.retry_after)


def rate_of(heard: Sequence[Heard], seconds: float) -> float:
    """Tokens a second, in so many since the first of them was asked for."""
    if not heard:
        return 0.0
    end = min(one.began for one in heard) + seconds
    return sum(1 for one in heard for piece in one.pieces if piece.at < end) / seconds


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
