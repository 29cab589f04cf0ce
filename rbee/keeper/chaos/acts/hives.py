"""A hive is lost, emptied, or replaced."""

from __future__ import annotations

import time
from functools import partial

from rbee.errors import RbeeError
from rbee.keeper.chaos.acts.promises import SETTLED_S, freed, replaced, told
from rbee.keeper.chaos.acts.workers import GONE_S
from rbee.keeper.chaos.fleet import Fleet
from rbee.keeper.chaos.heard import Heard
from rbee.keeper.chaos.members import HIVE_GRACE_S, Throwaway
from rbee.keeper.chaos.outcome import Strike


async def drain_hive(fleet: Fleet, victim: Heard, salt: int) -> Strike | None:
    """The same for all workers of a hive, which has none then, until it is undone."""
    assert isinstance(fleet, Throwaway)
    seat = await fleet.seat_of(victim.job_id)
    if seat is None or victim.ended:
        return None
    seats = await fleet.workers(seat.hive_id)
    strike = Strike(f"hive {seat.hive_id} drained", time.monotonic())
    try:
        await fleet.drain_hive(seat.hive_id, 0.0 if salt % 2 else None)
    except RbeeError as exc:
        strike.wrong.append(f"draining hive {seat.hive_id} failed: {exc.message}")
    for emptied in seats:
        await told(strike, partial(freed, emptied), "is gone with its port", GONE_S)
    if left := await fleet.listed(seat.hive_id):
        strike.wrong.append(f"drained, hive {seat.hive_id} still lists {len(left)} workers")
    await fleet.drain_hive(seat.hive_id, undo=True)
    return strike


async def kill_hive(fleet: Fleet, victim: Heard, salt: int) -> Strike | None:
    """Started again at once, it has its workers again as they were."""
    assert isinstance(fleet, Throwaway)
    seat = await fleet.seat_of(victim.job_id)
    if seat is None or victim.ended:
        return None
    before = set(await fleet.workers(seat.hive_id))
    strike = Strike(f"hive {seat.hive_id} killed", time.monotonic())
    await fleet.kill(seat.hive_id)
    await fleet.start(seat.hive_id)

    async def adopted() -> bool:
        return set(await fleet.workers(seat.hive_id)) == before

    await told(strike, adopted, "belongs to its hive again, same id, process and port", SETTLED_S)
    return strike


async def lose_hive(fleet: Fleet, victim: Heard, salt: int) -> Strike | None:
    """Not started again within the grace: no process of its workers is left, and no port."""
    assert isinstance(fleet, Throwaway)
    seat = await fleet.seat_of(victim.job_id)
    if seat is None or victim.ended:
        return None
    seats = await fleet.workers(seat.hive_id)
    strike = Strike(f"hive {seat.hive_id} lost", time.monotonic())
    await fleet.kill(seat.hive_id)
    for orphan in seats:
        await told(strike, partial(freed, orphan), "is gone", HIVE_GRACE_S + SETTLED_S)
    await fleet.start(seat.hive_id)
    return strike


async def replace_hives(fleet: Fleet, victim: Heard, salt: int) -> Strike | None:
    """One after the other: ended in order, started again."""
    assert isinstance(fleet, Throwaway)
    strike = Strike("hives replaced", time.monotonic())
    for hive_id in fleet.hives:
        await replaced(fleet, hive_id, strike)
    return strike
