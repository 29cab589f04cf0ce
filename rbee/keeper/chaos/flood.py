"""More requests than can be answered: who is accepted finishes, who is not is told at once."""

from __future__ import annotations

from rbee.keeper.chaos.outcome import Outcome
from rbee.keeper.chaos.plan import Scenario
from rbee.keeper.chaos.rounds import Stage


async def flood(scenario: Scenario, stage: Stage, n: int, seed: int, outcome: Outcome) -> None:
    raise NotImplementedError
