"""What acts wait for: a promise that is not kept in time becomes a part of what they tell."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from rbee.errors import Late
from rbee.keeper.chaos.fleet import Seat, runs, until
from rbee.keeper.chaos.members import Throwaway
from rbee.keeper.chaos.outcome import Strike

SETTLED_S = 15.0


async def told(
    strike: Strike, look: Callable[[], Awaitable[bool]], what: str, limit_s: float
) -> None:
    """Wait for a promise; one that is not kept becomes part of the strike."""
    try:
        await until(look, what, limit_s)
    except Late:
        strike.wrong.append(f"{strike.what}: not within {limit_s:.0f} s: it {what}")


async def ended(seat: Seat) -> bool:
    return not runs(seat.pid)


async def freed(seat: Seat) -> bool:
    """Neither the process is there nor anybody at its port."""
    parts = urlsplit(seat.url)
    with socket.socket() as probe:
        taken = probe.connect_ex((parts.hostname or "", parts.port or 0)) == 0
    return not taken and not runs(seat.pid)


async def replaced(fleet: Throwaway, name: str, strike: Strike) -> None:
    """Ended in order, which must come in time, and started again."""
    try:
        await fleet.stop(name)
    except Late as exc:
        strike.wrong.append(exc.message)
        await fleet.kill(name)
    await fleet.start(name)
    await fleet.whole()
