"""A worker process that an earlier life of this hive started: owned, though it is no child of ours.

Its end is seen, and signals reach it, by a handle that means this process and no later one with its
number (a pidfd, on Linux); elsewhere psutil compares start times, and looks every `LOOK_S`. Nobody
can tell its exit code, and nobody reads what it says: its pipes ended with its parent.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import anyio
import psutil

from rbee.errors import SpawnFailed
from rbee.hive.process import Process, end

LOOK_S = 0.2


class Adopted:
    """`found` must have been recognised: it will be signalled."""

    exit_code: int | None = None

    def __init__(self, found: psutil.Process) -> None:
        self._found = found
        self._handle = _handle(found)
        self.pid = found.pid
        self.since = time.monotonic() - max(0.0, time.time() - found.create_time())

    def __repr__(self) -> str:
        return f"<Adopted {self.pid}>"

    def send(self, number: int) -> None:
        with suppress(ProcessLookupError, psutil.Error):
            if sys.platform == "linux" and self._handle is not None:
                signal.pidfd_send_signal(self._handle, number)
            else:
                self._found.send_signal(number)

    async def wait(self) -> None:
        if self._handle is not None:
            await anyio.wait_readable(self._handle)
            return
        while _runs(self._found):  # noqa: ASYNC110 - nobody tells of an end that is not a child's
            await anyio.sleep(LOOK_S)

    def close(self) -> None:
        """Let go of the handle; nothing may be asked afterwards."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


async def follow(
    found: psutil.Process,
    *,
    on_start: Callable[[Process], None],
    grace_s: float,
    signals: Sequence[int],
) -> None:
    """As `process.run`, for a process that runs already. Raises `SpawnFailed` when it does not."""
    try:
        adopted = Adopted(found)
    except psutil.Error as exc:
        raise SpawnFailed(f"Process {found.pid} ended before it could be adopted.") from exc
    try:
        on_start(adopted)
        try:
            await adopted.wait()
        finally:
            await end(adopted, signals, grace_s)
    finally:
        adopted.close()


def _handle(found: psutil.Process) -> int | None:
    """A pidfd, where there is such a thing. Raises `psutil.NoSuchProcess` when it ended before."""
    handle: int | None = None
    if sys.platform == "linux":
        with suppress(OSError):  # an old kernel, or one that forbids it
            handle = os.pidfd_open(found.pid)
    if not _runs(found):
        if handle is not None:
            os.close(handle)
        raise psutil.NoSuchProcess(found.pid)
    return handle


def _runs(found: psutil.Process) -> bool:
    """Whether this very process runs; one that nobody reaps has ended all the same."""
    try:
        return found.is_running() and found.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
