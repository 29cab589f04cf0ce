"""A worker is lost, stands still, or is sent away."""

from __future__ import annotations

import signal
import time
from functools import partial

from rbee.errors import RbeeError
from rbee.keeper.chaos.acts.promises import SETTLED_S, ended, freed, told
from rbee.keeper.chaos.fleet import Fleet, Seat
from rbee.keeper.chaos.heard import Heard
from rbee.keeper.chaos.outcome import Strike

OUT_S = 5.0
"""A worker that stands still is out of rotation by then."""
GONE_S = 2.0


async def kill_worker(fleet: Fleet, victim: Heard, salt: int) -> Strike | None:
    """As a crash would."""
    seat = await fleet.seat_of(victim.job_id)
    if seat is None or victim.ended:
        return None
    fleet.hurt(seat, signal.SIGKILL)
    return Strike(f"{seat.worker_id} killed", time.monotonic())


async def stop_worker(fleet: Fleet, victim: Heard, salt: int) -> Strike | None:
    """It is there, and does nothing more: out of rotation, killed, and another one in its place."""
    seat = await fleet.seat_of(victim.job_id)
    if seat is None or victim.ended:
        return None
    fleet.hurt(seat, signal.SIGSTOP)
    strike = Strike(f"{seat.worker_id} stopped", time.monotonic())
    try:
        await told(strike, partial(_out_of_rotation, fleet, seat), "is out of rotation", OUT_S)
        await told(strike, partial(ended, seat), "is killed", SETTLED_S)
    finally:
        fleet.hurt(seat, signal.SIGKILL)
    return strike


async def drain_worker(fleet: Fleet, victim: Heard, salt: int) -> Strike | None:
    """Every second one has no time to finish, and its answers move at once."""
    seat = await fleet.seat_of(victim.job_id)
    if seat is None or victim.ended:
        return None
    strike = Strike(f"{seat.worker_id} drained", time.monotonic())
    try:
        await fleet.drain(seat, 0.0 if salt % 2 else None)
    except RbeeError as exc:
        strike.wrong.append(f"draining {seat.worker_id} failed: {exc.message}")
    await told(strike, partial(freed, seat), "is gone with its port", GONE_S)
    return strike


async def _out_of_rotation(fleet: Fleet, seat: Seat) -> bool:
    status = await fleet.status()
    return not any(
        w.worker.pid == seat.pid and w.alive and w.worker.state == "ready" for w in status.workers
    )
