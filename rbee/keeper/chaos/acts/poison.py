"""A request that kills every worker that reads it."""

from __future__ import annotations

import signal
import time
from functools import partial

import anyio

from rbee.keeper.chaos.acts.promises import SETTLED_S, ended
from rbee.keeper.chaos.asks import Ask, noise
from rbee.keeper.chaos.doors import Doors
from rbee.keeper.chaos.fleet import WATCH_S, Fleet, runs, until
from rbee.keeper.chaos.heard import Heard
from rbee.keeper.chaos.outcome import Strike

POISON = "poison_request"
CONVICTING = 2
"""Workers that die of it: the first crash has several suspects, the second has one."""
MOST_KILLS = 6
POISON_LIMIT_S = 45.0


async def poison(fleet: Fleet, victim: Heard, salt: int) -> Strike | None:
    """A request with a long prompt whose worker is killed before it has read it, whichever it is.

    Two die of it, its client is told why, and it is refused when it comes again.
    """
    if victim.ended:
        return None
    ask, killed = _poison(salt), 0
    strike = Strike("a poison request", time.monotonic())
    async with Doors(fleet.queens) as doors:
        heard = Heard(ask.name)
        with anyio.move_on_after(POISON_LIMIT_S):
            async with anyio.create_task_group() as group:
                group.start_soon(doors.submit, ask, heard)
                while not heard.ended and killed < MOST_KILLS:
                    killed += await _killed_by(fleet, heard)
                    await anyio.sleep(WATCH_S)
                group.cancel_scope.cancel()
        again = await doors.ask(ask)
    strike.wrong += unconvicted(killed, heard, again)
    return strike


def unconvicted(killed: int, heard: Heard, again: Heard) -> list[str]:
    """How a poison request was not dealt with: it is known after two dead workers, no sooner and no
    later. Pure."""
    wrong = []
    if killed != CONVICTING:
        wrong.append(f"{killed} workers died of one poison request, not {CONVICTING}")
    if heard.code != POISON:
        said = heard.code or ("an answer" if heard.pieces else "nothing")
        wrong.append(f"the poison request got {said}, not {POISON}")
    if again.code != POISON:
        wrong.append(f"sent again it got {again.code or 'an answer'}, not {POISON}")
    return wrong


async def _killed_by(fleet: Fleet, heard: Heard) -> bool:
    """Kill the worker that reads this request's prompt; whether there was one."""
    seat = await fleet.seat_of(heard.job_id) if heard.job_id and not heard.pieces else None
    if seat is None or not runs(seat.pid):
        await fleet.look_again()
        return False
    fleet.hurt(seat, signal.SIGKILL)
    await until(partial(ended, seat), "it is dead", SETTLED_S, WATCH_S)
    fleet.seats.remove(seat)
    return True


def _poison(salt: int) -> Ask:
    """No two are alike, and no prefix is known."""
    body = {"prompt": noise(salt), "cache_salt": str(salt), "temperature": 0.0, "max_tokens": 8}
    return Ask("sdk poison", "sdk", body, long=False)
