"""A file that is on its way: resumed where it stopped, checked, then moved into place. Blocking.

The partial file is named after the content it shall become (its sha256), so that what is found
there can always be gone on with, whoever began it. It lies in a hidden folder of the models folder:
the same file system, so that the last step is one rename.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from rbee import gguf_header
from rbee.errors import HubFailed, Unavailable
from rbee.hive.choice import HubFile

FOLDER = ".partial"
SPARE_BYTES = 64 * 2**20
"""Left free on the disk."""
Report = Callable[[int], None]


class Partial:
    """One file being fetched to `target`."""

    def __init__(self, models: Path, target: Path, file: HubFile) -> None:
        name = file.sha256 or hashlib.sha256(f"{file.path}\0{file.blob}".encode()).hexdigest()
        if file.size is None:
            raise HubFailed(f"The hub does not tell how large {file.path} is.")
        self.path = models / FOLDER / f"{name}.incomplete"
        self.lock = self.path.with_suffix(".lock")
        self._size = file.size
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._target = target
        self._file = file

    @property
    def done(self) -> int:
        """Bytes that are there already."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def missing(self) -> int:
        return self._size - self.done

    def prepare(self) -> None:
        """Refuse at once what will not fit, and discard what cannot be gone on with."""
        if self.done > self._size:
            self.discard()
        free = shutil.disk_usage(self.path.parent).free
        if self.missing + SPARE_BYTES > free:
            raise Unavailable(
                f"{self._file.path} needs {self.missing} more bytes; {free} are free on the disk.",
                hint="rbee model delete makes room",
            )

    def append(self, chunks: Iterable[bytes], report: Report) -> None:
        """Add what arrives; every chunk is on its way to the disk before it is reported."""
        done = self.done
        with self.path.open("ab", buffering=0) as file:
            for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    view = view[file.write(view) :]
                done += len(chunk)
                if done > self._size:
                    raise HubFailed(f"The hub sent more than the {self._size} bytes it said.")
                report(done)

    def finish(self, report: Report) -> str:
        """Check length, digest and header, and move into place; returns the sha256.

        What fails the check is discarded: going on with it could never succeed.
        """
        try:
            digest = self._checked(report)
            gguf_header.read(self.path)
        except Exception:
            self.discard()
            raise
        _sync(self.path)
        self._target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.path, self._target)
        self.lock.unlink(missing_ok=True)  # who waits for it finds the target in place
        return digest

    def _checked(self, report: Report) -> str:
        state, done = hashlib.sha256(), 0
        with self.path.open("rb") as file:
            while block := file.read(4 * 2**20):
                state.update(block)
                done += len(block)
                report(done)
        digest = state.hexdigest()
        if done != self._size:
            raise HubFailed(f"{self._file.path} has {done} bytes instead of {self._size}.")
        if self._file.sha256 not in ("", digest):
            raise HubFailed(
                f"{self._file.path} arrived damaged: its sha256 is not the one the hub names.",
                hint="ask again; it is fetched from the start",
            )
        return digest

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """A rename must not reach the disk before the bytes do."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
