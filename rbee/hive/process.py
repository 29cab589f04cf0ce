"""One child process: its lines, its log tail, its end. It is always reaped.

1. The arguments are a list, never a shell's text; the child has its own session, so that a Ctrl-C
   in the terminal reaches the hive alone, which then ends its children in order.
2. Cancelling `run` ends the child: by the signals that ask it to, and after the grace by SIGKILL.
   `run` returns when it is reaped, never before.
3. A pipe that a grandchild keeps open does not keep us: readers get `PIPE_S` after the exit.

What the lines mean is the caller's to know.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import anyio
import psutil
from anyio.abc import ByteReceiveStream
from anyio.abc import Process as Child

from rbee.errors import SpawnFailed
from rbee.hive.tail import LineReader, Tail

log = logging.getLogger(__name__)
PIPE_S = 1.0
OnLine = Callable[[str], None]


class Process(Protocol):
    """A running process, as its owner sees it: a child, or one that was adopted."""

    @property
    def pid(self) -> int: ...

    @property
    def since(self) -> float:
        """When it was started, by the monotonic clock."""

    @property
    def exit_code(self) -> int | None:
        """Negative: the signal that ended it. None while it runs, and for ever where it cannot be
        known."""

    def send(self, number: int) -> None:
        """Signal it; nothing happens when it has ended."""

    async def wait(self) -> None:
        """Return when it has ended."""


def measured(process: Process) -> dict[str, Any]:
    """What the system tells of it, as fields of a `WorkerProcess`."""
    try:
        rss = int(psutil.Process(process.pid).memory_info().rss)
    except psutil.Error:
        rss = 0  # it ended this moment; its owner is about to say so
    uptime_s = round(time.monotonic() - process.since, 3)
    return {"pid": process.pid, "rss_bytes": rss, "uptime_s": uptime_s}


class Started:
    """A child of ours."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self.pid = child.pid
        self.since = time.monotonic()

    def __repr__(self) -> str:
        return f"<Started {self.pid} exit {self.exit_code}>"

    @property
    def exit_code(self) -> int | None:
        return self._child.returncode

    def send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            self._child.send_signal(number)  # type: ignore[arg-type]

    async def wait(self) -> None:
        await self._child.wait()


async def run(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    on_start: Callable[[Process], None],
    on_line: OnLine,
    tail: Tail,
    grace_s: float,
    signals: Sequence[int] = (signal.SIGTERM,),
    stdin: int = subprocess.DEVNULL,
) -> int | None:
    """Run a child to its end and return its exit code; `on_line` gets each line of its stdout.

    `stdin=subprocess.PIPE` gives it a pipe that closes when this process dies, however it dies.
    Raises `SpawnFailed` when it cannot be started at all.
    """
    child = await _start(argv, env, stdin)
    started = Started(child)
    try:
        async with anyio.create_task_group() as readers:
            readers.start_soon(_read, child.stdout, tail, on_line)
            readers.start_soon(_read, child.stderr, tail, None)
            try:
                on_start(started)
                await started.wait()
            finally:
                await end(started, signals, grace_s)
                readers.cancel_scope.deadline = anyio.current_time() + PIPE_S
    finally:
        with anyio.CancelScope(shield=True):
            await child.aclose()
    return started.exit_code


async def _start(argv: Sequence[str], env: Mapping[str, str], stdin: int) -> Child:
    try:
        with anyio.CancelScope(shield=True):  # a child half started would have no owner
            started = await anyio.open_process(
                list(argv), stdin=stdin, env=dict(env), start_new_session=True
            )
    except OSError as exc:
        raise SpawnFailed(f"{argv[0]} cannot be started: {exc.strerror}.") from exc
    return started


async def end(process: Process, signals: Sequence[int], grace_s: float) -> None:
    """The signals that ask it to end, then SIGKILL; returns when it has ended, never before."""
    with anyio.CancelScope(shield=True):
        if process.exit_code is None:
            for number in signals:
                process.send(number)
        with anyio.move_on_after(grace_s):
            await process.wait()
            return
        log.warning(
            "process %d ignores %s, killing it", process.pid, signal.Signals(signals[0]).name
        )
        process.send(signal.SIGKILL)
        await process.wait()


async def _read(stream: ByteReceiveStream | None, tail: Tail, on_line: OnLine | None) -> None:
    if stream is None:
        return
    lines = LineReader()
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        while True:
            for line in lines.feed(await stream.receive()):
                _take(line, tail, on_line)
    for line in lines.rest():
        _take(line, tail, on_line)


def _take(line: str, tail: Tail, on_line: OnLine | None) -> None:
    tail.add(line)
    if on_line is not None:
        on_line(line)
