"""A worker that reads its weights from the disk again is slow, and not wedged."""

from __future__ import annotations

import mmap
import os
import sys
import time
from pathlib import Path

import pytest

from rbee.worker.engine.paging import LOOK_S, READING, Paging, bytes_read
from rbee.worker.engine.patience import LEAST_S, UNKNOWN_S
from rbee.worker.engine.watch import Watch


class Disk:
    """Says how much was read of it."""

    def __init__(self) -> None:
        self.read = 10**9

    def __call__(self) -> int:
        return self.read


def test_only_what_is_read_at_this_time_counts() -> None:
    disk = Disk()
    paging, now = Paging(disk), time.monotonic()
    assert not paging.reads(now + 1), "what was read before, by the loading, is no matter"
    disk.read += 4 * READING
    assert not paging.reads(now + 1 + LOOK_S / 2), "not asked again so soon"
    assert paging.reads(now + 2)
    assert paging.reads(now + 2 + LOOK_S / 2)
    disk.read += READING // 2
    assert not paging.reads(now + 3)
    disk.read += 10 * READING
    assert paging.reads(now + 4)


def test_a_step_that_waits_for_the_disk_is_borne_for_a_minute() -> None:
    disk = Disk()
    watch = Watch(Paging(disk))
    watch.begin()
    assert watch.pulse(waits=False)[1] == LEAST_S
    time.sleep(LOOK_S)
    disk.read += 10 * READING
    age, limit = watch.pulse(waits=False)
    assert LOOK_S <= age < limit == UNKNOWN_S
    time.sleep(LOOK_S)
    assert watch.pulse(waits=False)[1] == LEAST_S, "it reads no more, and hangs"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and drops a cached file")
def test_a_mapped_file_that_is_read_from_the_disk_is_told(tmp_path: Path) -> None:
    size = 8 * 1024 * 1024
    file = tmp_path / "weights"
    file.write_bytes(os.urandom(size))
    before = bytes_read()
    with file.open("r+b") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert sum(mapped[at] for at in range(0, size, mmap.PAGESIZE)) > 0
    read = bytes_read() - before
    if not read:
        pytest.skip("this folder lies in memory")
    assert read >= size // 2
