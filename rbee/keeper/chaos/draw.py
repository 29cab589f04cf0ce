"""From a seed to a schedule: which requests, which stream is hit, and how late in it. Pure."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rbee.keeper.chaos.asks import Ask
from rbee.keeper.chaos.plan import Scenario, Turn

LATEST = 0.97
"""Later than this, and an answer has nearly always ended before the act comes."""


@dataclass(frozen=True)
class Moment:
    """When the victim is hit: it has heard so many pieces, and then so many tokens more have been
    computed that it has not heard."""

    pieces: int
    tokens: int = 0


def turns(scenario: Scenario, seed: int, deck: Sequence[Ask]) -> Iterator[Turn]:
    """Rounds without end; the same ones for the same seed, scenario and deck.

    The victim is a long answer, for a short one is over before anything can happen to it.
    """
    long = [ask.name for ask in deck if ask.long]
    every = [ask.name for ask in deck]
    draw = random.Random(f"{seed} {scenario.name}")
    for number in itertools.count():
        victim = draw.randrange(scenario.load.width)
        asks = tuple(
            draw.choice(long if stream == victim else every)
            for stream in range(scenario.load.width)
        )
        yield Turn(asks, victim, draw.uniform(0.0, LATEST), 2 * draw.randrange(2**30) + number % 2)


def after(turn: Turn, pieces: int, held: int = 0) -> Moment:
    """When to hit an answer that comes in `pieces`. Where each is held back until it is whole,
    `held` tokens of it, it is hit inside of any but the first, which alone tells its client that
    there is an answer."""
    if not held:
        return Moment(max(1, min(pieces - 1, round(turn.share * pieces))))
    at = 1 + turn.share * (pieces - 1)
    return Moment(int(at), round(at % 1 * held))
