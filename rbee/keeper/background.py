"""What `rbee up` started: `up.json`, and whether a process in it is really still ours.

A pid alone proves nothing, for it is reused: the command line and the start time must agree too
before anything is signalled. Only the holder of the lock reads or writes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import psutil
from msgspec import Struct

from rbee import paths
from rbee.contracts.limits import Pid
from rbee.errors import Late, RbeeError
from rbee.wire import codec

LOCK_LIMIT_S = 60.0
POLL_S = 0.02
CLOCK_SLACK_S = 60.0
"""Start times are told by the wall clock, which may have been set since."""
STOP_LIMIT_S = 12.0
"""Beside the drain: for connections to close, and for the hive's patience with its workers."""
TELL_S = 1.0
KILL_LIMIT_S = 5.0
FULL = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)


class Background(Struct, kw_only=True):
    """A process that runs in the background."""

    pid: Pid
    started: float
    command: list[str]
    urls: list[str]
    log: str
    drain_s: float = 30.0
    """How long it may go on with the answers that run when it shall end."""

    def process(self) -> psutil.Process | None:
        """The process, when it still is the one that was started."""
        try:
            found = psutil.Process(self.pid)
            same = (
                found.status() != psutil.STATUS_ZOMBIE
                and found.cmdline() == self.command
                and abs(found.create_time() - self.started) < CLOCK_SLACK_S
            )
        except psutil.Error:
            return None
        return found if same else None


class Record(Struct, kw_only=True):
    """`up.json`."""

    processes: list[Background] = []


def read() -> Record:
    """What is recorded and still runs; a file that cannot be read counts as none."""
    try:
        found: Record = codec.decode(_file().read_bytes(), Record)
    except (FileNotFoundError, RbeeError):
        return Record()
    return Record(processes=[p for p in found.processes if p.process() is not None])


def write(record: Record) -> None:
    """Replace `up.json`, or remove it when nothing is left."""
    file = _file()
    if not record.processes:
        file.unlink(missing_ok=True)
        return
    part = file.with_suffix(".part")
    part.write_bytes(codec.encode(record))
    os.replace(part, file)


def _file() -> Path:
    return folder() / "up.json"


def folder() -> Path:
    """The state folder, made when missing."""
    found = paths.state_dir()
    found.mkdir(mode=0o700, parents=True, exist_ok=True)
    return found


def hurry(background: Background) -> None:
    """Ask a process to end without waiting for the answers that run: two signals say so."""
    process = background.process()
    if process is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)


def stop(background: Background, tell: Callable[[float], None], *, asked: bool = False) -> bool:
    """End a process and all its workers, unless it was `asked` to already; True when it had to be
    killed. `tell` is told every second how much longer it may take."""
    process = background.process()
    if process is None:
        return False
    if not asked:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    if _gone(process, STOP_LIMIT_S + (0.0 if asked else background.drain_s), tell):
        return False
    for member in [process, *_family(process, background)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    if not _gone(process, KILL_LIMIT_S, lambda left_s: None):
        raise Late(f"Process {background.pid} does not end, not even by SIGKILL.")
    return True


def _family(process: psutil.Process, background: Background) -> list[psutil.Process]:
    """What it started, and the workers of its hive that an earlier life started."""
    try:
        children = process.children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    ports = {f":{urlsplit(url).port}" for url in background.urls}
    adopted = [p for p in psutil.process_iter() if _hive_of(p).endswith(tuple(ports))]
    return [*children, *adopted]


def _hive_of(process: psutil.Process) -> str:
    """The address of the hive whose worker this is; empty for any other process."""
    try:
        command = process.cmdline()
    except psutil.Error:
        return ""
    is_worker = "rbee.main" in command and "--hive" in command[:-1]
    return command[command.index("--hive") + 1] if is_worker else ""


def _gone(process: psutil.Process, limit_s: float, tell: Callable[[float], None]) -> bool:
    """Wait for somebody else's child, which may stay as a zombie that nobody reaps."""
    end, told = time.monotonic() + limit_s, time.monotonic()
    while (now := time.monotonic()) < end:
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        if now - told > TELL_S:
            tell(end - now)
            told = time.monotonic()
        time.sleep(POLL_S)
    return False


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """One starter or stopper at a time in this home; freed by the system when we die."""
    with (folder() / "up.lock").open("a+b") as file:
        end = time.monotonic() + LOCK_LIMIT_S
        while not _try_lock(file):
            if time.monotonic() > end:
                raise Late(f"Another rbee has held {file.name} for {LOCK_LIMIT_S:.0f} s.")
            time.sleep(POLL_S)
        with _named():
            yield


@contextlib.contextmanager
def _named() -> Iterator[None]:
    """A full disk is found out by a write, and the system then names no file: name the folder."""
    try:
        yield
    except OSError as exc:
        if exc.errno in FULL and exc.filename is None:
            exc.filename = str(paths.state_dir())
        raise


def _try_lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
