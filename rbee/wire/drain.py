"""Between the first signal and the end of a process: what runs may finish, and people are told.

A role says how (`Drain`); the server (`rbee.wire.server`) says when, and answers all the while.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import anyio

log = logging.getLogger(__name__)
DRAIN_SIGNAL = signal.SIGUSR1
"""Drains as SIGTERM does, but without a limit of its own: a hive sends this to its workers, and
ends them when its own patience is over."""
TELL_AFTER_S, TELL_EVERY_S = 0.3, 5.0
LOOK_S, STANDS_S = 0.02, 0.25
"""Who takes nothing for so long is not waited for: an idle role ends within a second."""


@dataclass(frozen=True)
class Drain:
    """What a role does between the first signal and its end."""

    run: Callable[[], Awaitable[None]]
    """Takes nothing new from now on; returns when nothing runs any more."""
    limit_s: float
    left: Callable[[], str]
    """What is still waited for, for the person in front of it: `2 answers`."""


async def drained(drain: Drain, limit: float) -> None:
    """Let what runs finish, until `limit` by the loop's clock, telling what is waited for."""
    with anyio.CancelScope(deadline=limit):
        async with anyio.create_task_group() as group:
            group.start_soon(_tell, drain)
            await drain.run()
            group.cancel_scope.cancel()


async def read_to_the_end(taken: Callable[[], Sequence[int]]) -> None:
    """Return when nobody reads any more, or those who do take nothing. `taken`: how far each of
    those is whose answers have ended."""
    before, since = taken(), anyio.current_time()
    while before and anyio.current_time() - since < STANDS_S:
        await anyio.sleep(LOOK_S)
        if (now := taken()) != before:
            before, since = now, anyio.current_time()


async def _tell(drain: Drain) -> None:
    told, wait_s = "", TELL_AFTER_S
    while True:
        await anyio.sleep(wait_s)
        if (left := drain.left()) != told:
            log.info("draining, %s to finish; Ctrl-C again or a second signal ends it now", left)
        told, wait_s = left, TELL_EVERY_S


def counted(number: int, one: str) -> str:
    """`1 answer`, `2 answers`."""
    return f"{number} {one}" if number == 1 else f"{number} {one}s"
