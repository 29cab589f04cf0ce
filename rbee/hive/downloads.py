"""Running downloads: one process for each name asked for, however many ask.

1. Askers share a download; when the last one leaves it is killed, and its partial file stays.
2. A process that says nothing for too long is killed: the hub hangs.
3. The result is looked up in the catalog: the folder is the truth.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from rbee.config import HiveConfig
from rbee.contracts.events import AnyEvent, Done, Failed, Progress
from rbee.errors import Cancelled, HubFailed, Overloaded, RbeeError
from rbee.hive.process import run
from rbee.hive.tail import Tail
from rbee.wire.codec import decode
from rbee.wire.replies import from_failed

log = logging.getLogger(__name__)
MAX_RUNNING = 8
END_S = 2.0
_QUIET = {
    "HF_HUB_DISABLE_XET": "1",  # its transfers cannot be resumed by us
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
}
Report = Callable[[Progress], None]
Result = Mapping[str, str]
"""`id` of the model, and its `sha256` (empty when it was there already)."""


class Download:
    """One process and those who wait for it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reports: list[Report] = []
        self.finished = anyio.Event()
        self.scope = anyio.CancelScope()
        self._silence_s = 0.0
        self._progress: Progress | None = None
        self._last: Done | Failed | None = None
        self._tail = Tail()

    def __repr__(self) -> str:
        return f"<Download {self.name!r} for {len(self.reports)}>"

    async def live(self, argv: Sequence[str], env: Mapping[str, str], silence_s: float) -> None:
        """Run the process; returns when it has ended."""
        self._silence_s = silence_s
        with self.scope:
            self._heard()
            await run(
                argv,
                env,
                on_start=lambda process: log.info("process %d: %r", process.pid, self),
                on_line=self._line,
                tail=self._tail,
                grace_s=END_S,
                stdin=subprocess.PIPE,
            )

    def _heard(self) -> None:
        self.scope.deadline = anyio.current_time() + self._silence_s

    def _line(self, line: str) -> None:
        self._heard()
        match _event(line):
            case Progress() as event:
                self._progress = event
                for report in self.reports:
                    report(event)
            case Done() | Failed() as event:
                self._last = event
            case _:
                pass  # a library's remark, which the tail keeps

    def join(self, report: Report) -> None:
        """One asker more, who is told how far it is."""
        self.reports.append(report)
        if self._progress is not None:
            report(self._progress)

    def leave(self, report: Report) -> None:
        """The last one out ends it."""
        self.reports.remove(report)
        if not self.reports:
            self.scope.cancel()

    def result(self) -> Result:
        """What came of it. Raises the reason when nothing did."""
        match self._last:
            case Done(result=dict() as result):
                return {key: str(value) for key, value in result.items()}
            case Failed() as failed:
                raise from_failed(failed)
        if self.scope.cancelled_caught and not self.reports:
            raise Cancelled(f"The download of {self.name} was cancelled.")
        if self.scope.cancelled_caught:
            raise HubFailed(
                f"The download of {self.name} made no progress for {self._silence_s:g} s.",
                hint="ask again; it goes on where it stopped",
            )
        raise HubFailed(f"The download of {self.name} ended early: {self._tail.last()}")


def _event(line: str) -> AnyEvent | None:
    """The event that a line is, if it is one."""
    try:
        found: AnyEvent = decode(line.encode(), AnyEvent)
    except RbeeError:
        return None
    return found


class Downloads:
    """All running downloads, by the name asked for."""

    def __init__(
        self,
        group: TaskGroup,
        models: Path,
        config: HiveConfig,
        env: Mapping[str, str],
        changed: Callable[[], None],
    ) -> None:
        self._group = group
        self._models = models
        self._timeout_s = config.hub_timeout_s
        self._env = {**env, **_QUIET}
        self._changed = changed
        self._running: dict[str, Download] = {}

    def __repr__(self) -> str:
        return f"<Downloads {', '.join(self._running) or 'none'}>"

    @property
    def running(self) -> int:
        return len(self._running)

    async def fetch(self, name: str, report: Report) -> Result:
        """Fetch what `name` means, or join who does; returns the model's id and digest.

        Raises what the hub says. An asker who is cancelled leaves; the last takes it along.
        """
        download = await self._open(name)
        download.join(report)
        try:
            await download.finished.wait()
            return download.result()
        finally:
            download.leave(report)
            if not download.reports:
                with anyio.move_on_after(2 * END_S, shield=True):
                    await download.finished.wait()

    async def _open(self, name: str) -> Download:
        while (found := self._running.get(name)) is not None:
            if not found.scope.cancel_called:
                return found
            await found.finished.wait()
        if len(self._running) >= MAX_RUNNING:
            raise Overloaded(f"{MAX_RUNNING} downloads are running already.", retry_after_s=10.0)
        made = self._running[name] = Download(name)
        self._group.start_soon(self._live, made, name=f"download {name}")
        return made

    async def _live(self, download: Download) -> None:
        argv = [sys.executable, "-P", "-m", "rbee.hive.fetch", download.name, str(self._models)]
        try:
            silence_s = 2 * self._timeout_s + 5.0
            await download.live([*argv, str(self._timeout_s)], self._env, silence_s)
        except RbeeError as exc:
            log.error("%r: %s", download, exc)
        finally:
            del self._running[download.name]
            download.finished.set()
            self._changed()
