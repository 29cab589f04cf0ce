"""An event loop whose clock a test moves: sleeps and deadlines take no time, and come in order."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio


class DrawnTime(asyncio.SelectorEventLoop):
    """Never waits for its clock: whoever drives it keeps running, and sets `now`."""

    def __init__(self) -> None:
        self.now = 100.0
        super().__init__()

    def time(self) -> float:
        return self.now

    @property
    def idle(self) -> bool:
        ready: Any = self._ready  # type: ignore[attr-defined]
        return not ready


async def settled(loop: DrawnTime, most: int = 100) -> None:
    """Return when nobody can get on at the present time. What is cancelled and may not end yet (it
    tells somebody who does not listen) keeps the loop busy, so that this is bounded."""
    for _ in range(most):
        await anyio.lowlevel.checkpoint()
        if loop.idle:
            return
