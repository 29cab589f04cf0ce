"""Scenarios, one after the other: a fleet, the undisturbed answers, what happens, and the row."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import anyio

from rbee.errors import RbeeError
from rbee.keeper.chaos import cancel, checks, flood, slow
from rbee.keeper.chaos.asks import Ask, deck
from rbee.keeper.chaos.doors import Doors
from rbee.keeper.chaos.fleet import Fleet
from rbee.keeper.chaos.members import throwaway
from rbee.keeper.chaos.outcome import Outcome, Row, row
from rbee.keeper.chaos.plan import Cancel, Flood, Reference, Scenario, StopReading, Way
from rbee.keeper.chaos.rounds import Stage, rounds, steady, undisturbed
from rbee.wire.http import Http

Play = Callable[[Scenario, Stage, int, int, Outcome], Awaitable[None]]
WAYS: Mapping[Way, Play] = {
    "rounds": rounds,
    "steady": steady,
}
OWN: Mapping[type, Play] = {Flood: flood.flood, StopReading: slow.slow, Cancel: cancel.cancel}
"""What the events with numbers mean."""
Open = Callable[[Http, Scenario], AbstractAsyncContextManager[Fleet]]
"""The fleet for a scenario."""


def run(scenarios: Sequence[Scenario], n: int | None, seed: int, fleet: Open) -> Iterator[Row]:
    """A row for each, as soon as it is there."""
    known: dict[str, Reference] = {}
    for scenario in scenarios:
        yield anyio.run(play, scenario, n or scenario.n, seed, fleet, known)


async def play(
    scenario: Scenario, n: int, seed: int, fleet: Open, known: dict[str, Reference]
) -> Row:
    """One scenario on a fleet that is opened for it. What breaks it off is a reason not to pass.

    `known` are undisturbed answers, of scenarios before; what is missing is asked for first."""
    outcome = Outcome(n)
    asks = deck(scenario.load.doors)
    try:
        async with Http() as http, fleet(http, scenario) as opened, Doors(opened.queens) as doors:
            new = [ask for ask in asks if ask.name not in known]
            known.update(await undisturbed(new, doors, outcome))
            steady = {ask.name: ask for ask in asks if ask.name in known}
            _say_what_is_left_out(scenario, asks, steady)
            stage = Stage(opened, doors, steady, known)
            try:
                await _way(scenario)(scenario, stage, n, seed, outcome)
            finally:
                outcome.judge(stage.references, stage.parses)
    except (RbeeError, TimeoutError) as exc:
        outcome.wrong.insert(0, f"broken off: {getattr(exc, 'message', '') or 'out of time'}")
    except BaseExceptionGroup as group:
        outcome.wrong.insert(0, f"broken off: {_first(group)}")
    return row(scenario.name, outcome, checks.reasons(scenario, outcome))


def _way(scenario: Scenario) -> Play:
    return OWN[type(scenario.events[0])] if scenario.way == "own" else WAYS[scenario.way]


def _say_what_is_left_out(
    scenario: Scenario, asks: Sequence[Ask], steady: Mapping[str, Ask]
) -> None:
    left = ", ".join(ask.name for ask in asks if ask.name not in steady)
    if left:
        sys.stderr.write(f"{scenario.name}: left out, for they vary by themselves: {left}\n")


def _first(group: BaseExceptionGroup[BaseException]) -> str:
    """What ended a task group, when it is one of ours; raises the group when it is not."""
    ours = group.subgroup((RbeeError, TimeoutError))
    if ours is None or group.split((RbeeError, TimeoutError))[1] is not None:
        raise group
    inner: BaseException = ours
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return getattr(inner, "message", "") or "out of time"


def own_throwaway(http: Http, scenario: Scenario) -> AbstractAsyncContextManager[Fleet]:
    return throwaway(http, scenario.shape)
