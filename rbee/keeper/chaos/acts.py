"""What is done to a fleet in the middle of an answer: one function for each act.

Each returns what it did and when, with whatever it saw that was not as promised; an act whose
victim had ended already did nothing, and returns None.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from urllib.parse import urlsplit

import anyio

from rbee.errors import Late, RbeeError
from rbee.keeper.chaos.asks import Ask, noise
from rbee.keeper.chaos.doors import Doors
from rbee.keeper.chaos.fleet import WATCH_S, Fleet, Seat, runs, until
from rbee.keeper.chaos.heard import Heard
from rbee.keeper.chaos.members import HIVE_GRACE_S, QUEEN, Throwaway
from rbee.keeper.chaos.outcome import Strike
from rbee.keeper.chaos.plan import Act

OUT_S = 5.0
"""A worker that stands still is out of rotation by then."""
GONE_S = 2.0
SETTLED_S = 15.0
POISON = "poison_request"
CONVICTING = 2
"""Workers that die of it: the first crash has several suspects, the second has one."""
MOST_KILLS = 6
POISON_LIMIT_S = 45.0
Perform = Callable[[Fleet, Heard, int], Awaitable[Strike | None]]
"""(the fleet, the answer that it is aimed at, a number of this round's own)"""


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
        await _told(strike, partial(_out_of_rotation, fleet, seat), "is out of rotation", OUT_S)
        await _told(strike, partial(_ended, seat), "is killed", SETTLED_S)
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
    await _told(strike, partial(_freed, seat), "is gone with its port", GONE_S)
    return strike


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
        await _told(strike, partial(_freed, emptied), "is gone with its port", GONE_S)
    if left := await fleet.listed(seat.hive_id):
        strike.wrong.append(f"drained, hive {seat.hive_id} still lists {len(left)} workers")
    await fleet.drain_hive(seat.hive_id, undo=True)
    return strike


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

    await _told(strike, adopted, "belongs to its hive again, same id, process and port", SETTLED_S)
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
        await _told(strike, partial(_freed, orphan), "is gone", HIVE_GRACE_S + SETTLED_S)
    await fleet.start(seat.hive_id)
    return strike


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
    await until(partial(_ended, seat), "it is dead", SETTLED_S, WATCH_S)
    fleet.seats.remove(seat)
    return True


def _poison(salt: int) -> Ask:
    """No two are alike, and no prefix is known."""
    body = {"prompt": noise(salt), "cache_salt": str(salt), "temperature": 0.0, "max_tokens": 8}
    return Ask("sdk poison", "sdk", body, long=False)


async def replace_hives(fleet: Fleet, victim: Heard, salt: int) -> Strike | None:
    """One after the other: ended in order, started again."""
    assert isinstance(fleet, Throwaway)
    strike = Strike("hives replaced", time.monotonic())
    for hive_id in fleet.hives:
        await _replace(fleet, hive_id, strike)
    return strike


async def replace_queen(fleet: Fleet, victim: Heard, salt: int) -> Strike | None:
    assert isinstance(fleet, Throwaway)
    strike = Strike("queen replaced", time.monotonic())
    await _replace(fleet, QUEEN, strike)
    return strike


async def _replace(fleet: Throwaway, name: str, strike: Strike) -> None:
    try:
        await fleet.stop(name)
    except Late as exc:
        strike.wrong.append(exc.message)
        await fleet.kill(name)
    await fleet.start(name)
    await fleet.whole()


async def _told(
    strike: Strike, look: Callable[[], Awaitable[bool]], what: str, limit_s: float
) -> None:
    """Wait for a promise; one that is not kept becomes part of the strike."""
    try:
        await until(look, what, limit_s)
    except Late:
        strike.wrong.append(f"{strike.what}: not within {limit_s:.0f} s: it {what}")


async def _out_of_rotation(fleet: Fleet, seat: Seat) -> bool:
    status = await fleet.status()
    return not any(
        w.worker.pid == seat.pid and w.alive and w.worker.state == "ready" for w in status.workers
    )


async def _ended(seat: Seat) -> bool:
    return not runs(seat.pid)


async def _freed(seat: Seat) -> bool:
    """Neither the process is there nor anybody at its port."""
    parts = urlsplit(seat.url)
    with socket.socket() as probe:
        taken = probe.connect_ex((parts.hostname or "", parts.port or 0)) == 0
    return not taken and not runs(seat.pid)


ACTS: Mapping[Act, Perform] = {
    "kill-worker": kill_worker,
    "stop-worker": stop_worker,
    "drain-worker": drain_worker,
    "drain-hive": drain_hive,
    "poison": poison,
    "kill-queen": kill_queen,
    "lose-queen": lose_queen,
    "kill-hive": kill_hive,
    "lose-hive": lose_hive,
    "replace-hives": replace_hives,
    "replace-queen": replace_queen,
}
