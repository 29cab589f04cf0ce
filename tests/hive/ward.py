"""A supervisor over stubs, for tests that wait for facts about it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import psutil

from rbee.config import HiveConfig
from rbee.contracts.answers import Spawned
from rbee.hive.launch import Command, Wish
from rbee.hive.supervisor import Supervisor
from tests.hive.stub_hive import stub

LIMIT_S = 20.0


class Ward:
    """A supervisor, with a way to wait for facts."""

    def __init__(self, group: anyio.abc.TaskGroup, config: HiveConfig) -> None:
        self.flags: tuple[str, ...] = ()
        self.command: Command | None = None
        self.progress: list[tuple[int, int]] = []
        self._changed = anyio.Event()
        self._before = {child.pid for child in psutil.Process().children()}
        self.supervisor = Supervisor(group, config, self._build, self._tell)

    def _build(self, wish: Wish) -> Command:
        return self.command or stub(*self.flags)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, fact: Callable[[], bool]) -> None:
        with anyio.fail_after(LIMIT_S):
            while not fact():
                await self._changed.wait()

    async def spawn(self, *flags: str, model: str = "bee") -> Spawned:
        self.flags = flags
        wish = Wish(self.supervisor.new_id(model), model, "/m.gguf", "ab", "cpu", slots=1)
        with anyio.fail_after(LIMIT_S):
            return await self.supervisor.spawn(wish, lambda *step: self.progress.append(step))

    def children(self) -> set[int]:
        """The supervisor's children, as the system tells it; earlier ones of this process aside."""
        return {child.pid for child in psutil.Process().children()} - self._before

    def states(self) -> list[str]:
        return [worker.state for worker in self.supervisor.view()]


@asynccontextmanager
async def ward(**settings: float) -> AsyncIterator[Ward]:
    quick = {"stop_grace_s": 1.0, "backoff_first_s": 0.05, "backoff_max_s": 60.0, **settings}
    async with anyio.create_task_group() as group:
        made = Ward(group, HiveConfig(**quick))  # type: ignore[arg-type]
        try:
            yield made
        finally:
            with anyio.CancelScope(shield=True), anyio.fail_after(LIMIT_S):
                await made.supervisor.close()
            group.cancel_scope.cancel()
