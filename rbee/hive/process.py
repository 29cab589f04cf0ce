"""One child process: its lines, its log tail, its end. It is always reaped.

1. The arguments are a list, never a shell's text; the child has its own session, so that a Ctrl-C
   in the terminal reaches the hive alone, which then ends its children in order.
2. Cancelling `run` ends the child: SIGTERM, and after the grace SIGKILL. `run` returns when it is
   reaped, never before.
3. A pipe that a grandchild keeps open does not keep us: readers get `PIPE_S` after the exit.

What the lines mean is the caller's to know.
"""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import anyio
from anyio.abc import ByteReceiveStream
from anyio.abc import Process as Started

from rbee.errors import SpawnFailed
from rbee.hive.tail import LineReader, Tail

log = logging.getLogger(__name__)
PIPE_S = 1.0
OnLine = Callable[[str], None]


class Process:
    """A started child, as its owner sees it."""

    def __init__(self, started: Started) -> None:
        self._started = started
        self.pid = started.pid
        self.since = time.monotonic()

    def __repr__(self) -> str:
        return f"<Process {self.pid} exit {self.exit_code}>"

    @property
    def exit_code(self) -> int | None:
        """Negative: the signal that ended it."""
        return self._started.returncode


async def run(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    on_start: Callable[[Process], None],
    on_line: OnLine,
    tail: Tail,
    grace_s: float,
    stdin: int = subprocess.DEVNULL,
) -> int:
    """Run a child to its end and return its exit code; `on_line` gets each line of its stdout.

    `stdin=subprocess.PIPE` gives it a pipe that closes when this process dies, however it dies.
    Raises `SpawnFailed` when it cannot be started at all.
    """
    started = await _start(argv, env, stdin)
    try:
        async with anyio.create_task_group() as readers:
            readers.start_soon(_read, started.stdout, tail, on_line)
            readers.start_soon(_read, started.stderr, tail, None)
            try:
                on_start(Process(started))
                await started.wait()
            finally:
                with anyio.CancelScope(shield=True):
                    await _end(started, grace_s)
                readers.cancel_scope.deadline = anyio.current_time() + PIPE_S
    finally:
        with anyio.CancelScope(shield=True):
            await started.aclose()
    return await started.wait()


async def _start(argv: Sequence[str], env: Mapping[str, str], stdin: int) -> Started:
    try:
        with anyio.CancelScope(shield=True):  # a child half started would have no owner
            started = await anyio.open_process(
                list(argv), stdin=stdin, env=dict(env), start_new_session=True
            )
    except OSError as exc:
        raise SpawnFailed(f"{argv[0]} cannot be started: {exc.strerror}.") from exc
    return started


async def _end(started: Started, grace_s: float) -> None:
    """SIGTERM, then SIGKILL; returns when the child is reaped."""
    if started.returncode is not None:
        return
    with suppress(ProcessLookupError):
        started.terminate()
    with anyio.move_on_after(grace_s):
        await started.wait()
        return
    log.warning("process %d ignores SIGTERM, killing it", started.pid)
    with suppress(ProcessLookupError):
        started.kill()
    await started.wait()


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
