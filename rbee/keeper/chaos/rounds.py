"""Streams, and something that happens in the middle of one of them: round after round, or without
a break."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence

import anyio

from rbee.errors import Upstream
from rbee.keeper.chaos.acts import ACTS
from rbee.keeper.chaos.asks import Ask
from rbee.keeper.chaos.compare import Loss, compare, reference_of
from rbee.keeper.chaos.doors import Doors
from rbee.keeper.chaos.draw import after, turns
from rbee.keeper.chaos.fleet import WATCH_S, Fleet, until
from rbee.keeper.chaos.heard import Heard, silence_s, standstill_s
from rbee.keeper.chaos.outcome import Outcome, Strike
from rbee.keeper.chaos.plan import Act, Reference, Scenario, Turn

ROUND_S = 180.0
BESIDE = 4
ON_ITS_WAY_S, LATE_S = 0.05, 0.25
"""What was sent has been heard by then; on a busy machine somewhat later."""


class Stage:
    """What a scenario is played on."""

    def __init__(
        self,
        fleet: Fleet,
        doors: Doors,
        asks: Mapping[str, Ask],
        references: Mapping[str, Reference],
    ) -> None:
        self.fleet = fleet
        self.doors = doors
        self.asks = asks
        """Those whose undisturbed answer is known."""
        self.references = references
        self.parses = {name: ask.parses for name, ask in asks.items()}


async def rounds(scenario: Scenario, stage: Stage, n: int, seed: int, outcome: Outcome) -> None:
    """Until it has happened `n` times in the middle of an answer, with half as many rounds again
    for those in which it came too late."""
    deck = list(stage.asks.values())
    for turn in itertools.islice(turns(scenario, seed, deck), n + n // 2 + 2):
        if len(outcome.strikes) >= n:
            return
        with anyio.fail_after(ROUND_S):
            await _round(scenario, stage, turn, outcome)
            outcome.judge(stage.references, stage.parses)
            await stage.fleet.whole()


async def _round(scenario: Scenario, stage: Stage, turn: Turn, outcome: Outcome) -> None:
    heard = [Heard(name) for name in turn.asks]
    outcome.heard += heard
    (act,) = scenario.events
    assert isinstance(act, str)
    async with anyio.create_task_group() as group:
        for one in heard:
            ask = stage.asks[one.ask]
            group.start_soon(stage.doors.listen, ask, one, scenario.load.patience_s)
        victim = heard[turn.victim]
        await _reached(stage, victim, turn)
        strike = await ACTS[act](stage.fleet, victim, turn.salt)
    if strike is None:
        return
    moves = "moved" in scenario.checks
    if was_over(victim, strike, LATE_S if moves else ON_ITS_WAY_S):
        outcome.wrong += strike.wrong
        return
    strike.victim = victim
    strike.standstill_s = None if victim.code else standstill_s(victim, strike.at)
    silences = [silence_s(one, strike.at) for one in heard if not one.code]
    strike.silence_s = max(silences, default=None)
    outcome.strikes.append(strike)


def was_over(victim: Heard, strike: Strike, limit_s: float = ON_ITS_WAY_S) -> bool:
    """Whether the answer had ended where it is made, and only its end was on its way: nothing
    happened in the middle of it then. Where answers have to move, one that did not is believed to
    have been over for longer."""
    unhurt = not victim.code and not victim.migrations
    return unhurt and victim.ended - strike.at < limit_s


async def _reached(stage: Stage, victim: Heard, turn: Turn) -> None:
    """Wait until the victim's moment has come, or its end."""
    moment = after(turn, stage.references[victim.ask].pieces, stage.asks[victim.ask].held)
    if not await victim.reaches(moment.pieces) or not moment.tokens:
        return
    seat = await stage.fleet.seat_of(victim.job_id)
    first = await stage.fleet.steps(seat)

    async def computed() -> bool:
        """A step is a token of everybody who runs."""
        now = await stage.fleet.steps(seat)
        return bool(victim.ended) or now is None or first is None or now >= first + moment.tokens

    await until(computed, "its tokens are computed", ROUND_S, WATCH_S)


async def steady(scenario: Scenario, stage: Stage, n: int, seed: int, outcome: Outcome) -> None:
    """The acts, one after another, `n` times over, while streams follow streams."""
    enough = anyio.Event()
    async with anyio.create_task_group() as group:
        for number in range(scenario.load.width):
            group.start_soon(keep_asking, scenario, stage, seed + number, enough, outcome)
        try:
            await anyio.sleep(scenario.load.apart_s)
            for act in scenario.events * n:
                assert isinstance(act, str)
                before = _tries(stage, outcome)
                strike = await _during(act, stage, outcome)
                await anyio.sleep(scenario.load.apart_s)
                strike.act, strike.asked_again = act, _tries(stage, outcome) - before
        finally:
            enough.set()


def _tries(stage: Stage, outcome: Outcome) -> int:
    """How often anybody had to try again so far."""
    return sum(heard.again for heard in outcome.heard) + stage.doors.tries


async def _during(act: Act, stage: Stage, outcome: Outcome) -> Strike:
    began = time.monotonic()
    strike = await ACTS[act](stage.fleet, Heard("nobody"), 0)
    assert strike is not None, "nothing is in its way"
    ended = time.monotonic()
    outcome.strikes.append(strike)
    live = [h for h in outcome.heard if h.began < ended and not h.code and h.ended > began]
    stops = [stop for h in live if (stop := standstill_s(h, began)) is not None]
    strike.standstill_s = max(stops, default=None)
    return strike


async def keep_asking(
    scenario: Scenario, stage: Stage, seed: int, enough: anyio.Event, outcome: Outcome
) -> None:
    for turn in turns(scenario, seed, list(stage.asks.values())):
        if enough.is_set():
            return
        heard = Heard(turn.asks[turn.victim])
        outcome.heard.append(heard)
        await stage.doors.listen(stage.asks[heard.ask], heard, scenario.load.patience_s)
        if heard.code:
            await anyio.sleep(0.5)  # a fleet that fails at once is not asked in a tight loop


async def undisturbed(asks: Sequence[Ask], doors: Doors, outcome: Outcome) -> dict[str, Reference]:
    """What each request answers when nothing happens. It is asked alone, and then beside others:
    one that says something else then could tell nothing, and is left out. One that fails then, or
    loses characters or says them twice, does not vary: that is wrong."""
    found: dict[str, Reference] = {}
    for ask in asks:
        heard = await doors.ask(ask)
        if heard.code:
            raise Upstream(f"{ask.name} failed before anything was done to it: {heard.message}")
        found[ask.name] = reference_of(heard)

    async def again(ask: Ask) -> None:
        heard = await doors.ask(ask)
        loss = Loss() if heard.code else compare(heard, found[ask.name], ask.parses)
        outcome.wrong += spoiled(heard, loss)
        if loss.differs:
            del found[ask.name]

    for first in range(0, len(asks), BESIDE):
        async with anyio.create_task_group() as group:
            for ask in asks[first : first + BESIDE]:
                group.start_soon(again, ask)
    return found


def spoiled(heard: Heard, loss: Loss) -> list[str]:
    """What is wrong with an answer that nothing was done to, and cannot be its own variance."""
    if heard.code:
        why = f"{heard.ask} failed beside others ({heard.code}): {heard.message}"
    elif loss.lost or loss.repeated:
        why = f"{heard.ask} beside others: {loss.lost} characters lost, {loss.repeated} repeated"
    else:
        return []
    return [why]
