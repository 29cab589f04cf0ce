"""Whether the process waits for memory of its own that lies on a disk: that is slow, and no hang.

Weights are a file that is mapped into memory. A machine that is short of it takes them away from a
worker that rests, and its next step reads gigabytes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

LOOK_S = 0.5
"""Between two looks: each is a system call or two."""
READING = 2_000_000
"""Bytes a second; beside a hang nothing here reads a tenth of that."""
_FAULT_BYTES = 16_384
_IO = Path("/proc/self/io")


def bytes_read() -> int:
    """From disks, by this process, so far; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0
    if sys.platform == "linux":
        try:
            told = _IO.read_bytes().partition(b"\nread_bytes:")[2]
        except OSError:  # some containers hide it
            return 0
        return int(told.split(maxsplit=1)[0]) if told else 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt * _FAULT_BYTES


class Paging:
    """Asked again and again, by one thread: how much was read since the last time."""

    def __init__(self, read: Callable[[], int] = bytes_read) -> None:
        self._read = read
        self._at = time.monotonic()
        self._before = read()
        self._rate = 0.0

    def __repr__(self) -> str:
        return f"<Paging {self._rate / 1e6:.1f} MB/s>"

    def reads(self, now: float) -> bool:
        """Whether it reads at this time."""
        if now - self._at >= LOOK_S:
            read = self._read()
            self._rate = (read - self._before) / (now - self._at)
            self._at, self._before = now, read
        return self._rate >= READING
