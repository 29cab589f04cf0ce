"""A queen is lost, or replaced."""

from __future__ import annotations

import time

from rbee.keeper.chaos.acts.promises import replaced
from rbee.keeper.chaos.fleet import Fleet
from rbee.keeper.chaos.heard import Heard
from rbee.keeper.chaos.members import QUEEN, Throwaway
from rbee.keeper.chaos.outcome import Strike


async def kill_queen(fleet: Fleet, victim: Heard, salt: int) -> Strike | None:
    assert isinstance(fleet, Throwaway)
    if victim.ended:
        return None
    at = time.monotonic()
    await fleet.kill(QUEEN)
    await fleet.start(QUEEN)
    return Strike("queen killed", at)


async def lose_queen(fleet: Fleet, victim: Heard, salt: int) -> Strike | None:
    """The one who carries the answer; she is not started again before all answers have ended."""
    assert isinstance(fleet, Throwaway)
    name = await fleet.carrier(victim.job_id)
    if name is None or victim.ended:
        return None
    strike = Strike(f"{name} lost", time.monotonic())
    await fleet.kill(name)
    return strike


async def replace_queen(fleet: Fleet, victim: Heard, salt: int) -> Strike | None:
    assert isinstance(fleet, Throwaway)
    strike = Strike("queen replaced", time.monotonic())
    await replaced(fleet, QUEEN, strike)
    return strike
