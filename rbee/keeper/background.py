"""What `rbee up` started: `up.json`, and whether a process in it is really still ours.

A pid alone proves nothing, for it is reused: the command line and the start time must agree too
before anything is signalled. Only the holder of the lock reads or writes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

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
"""A drain and the hive's own patience with its workers, 5 s each, and a little."""
KILL_LIMIT_S = 5.0
FULL = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)


class Background(Struct, kw_only=True):
    """A process that runs in the background."""

    pid: Pid
    started: float
    command: list[str]
    urls: list[str]
    log: str

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


def stop(background: Background) -> bool:
    """End a process and everything it started; True when it had to be killed."""
    process = background.process()
    if process is None:
        return False
    family = _children(process)
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
    if _gone(process, STOP_LIMIT_S):
        return False
    for member in [process, *family]:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    if not _gone(process, KILL_LIMIT_S):
        raise Late(f"Process {background.pid} does not end, not even by SIGKILL.")
    return True


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _gone(process: psutil.Process, limit_s: float) -> bool:
    """Wait for somebody else's child, which may stay as a zombie that nobody reaps."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
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
