"""Ends a throw-away fleet when nobody else does: `python -m rbee.keeper.chaos.guardian FOLDER`.

Every process of such a fleet, whoever started it, has its `RBEE_HOME` in the fleet's folder; that
is how they are found. The guardian waits until its stdin ends, which it does however its starter
ends, also by `kill -9`; then it ends them all and removes the folder.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

GONE_S = 10.0
ROUNDS = 3
"""A hive that is ended in the middle of it may just have started one more."""


def strays(folder: Path) -> list[psutil.Process]:
    """Every process of a fleet that runs."""
    return [process for process in psutil.process_iter() if _lives_in(process, folder)]


def _lives_in(process: psutil.Process, folder: Path) -> bool:
    try:
        home = process.environ().get("RBEE_HOME", "")
        return Path(home).is_relative_to(folder) and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):
        return False  # somebody else's, or it ended this moment


def end_all(folder: Path) -> None:
    """Kill every process of a fleet, and wait until they are gone."""
    for _ in range(ROUNDS):
        found = strays(folder)
        if not found:
            return
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, GONE_S)


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """A guardian for a folder, until the context is left, however it is left."""
    command = [sys.executable, "-P", "-m", "rbee.keeper.chaos.guardian", str(folder)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what ends us does not end it
    ) as guardian:
        try:
            yield
        finally:
            assert guardian.stdin is not None
            guardian.stdin.close()
            guardian.wait(ROUNDS * GONE_S)


def main() -> None:
    """Wait for the end of stdin."""
    folder = Path(sys.argv[1])
    sys.stdin.buffer.read()
    end_all(folder)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
