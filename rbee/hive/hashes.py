"""The sha256 of model files, read once each and remembered in a hidden file beside them.

The memory is a cache and nothing more: keyed by size and modification time, written atomically,
rebuilt when it is missing or unreadable. Blocking parts are for a thread, and touch no memory.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from rbee.hive.shelf import Found, Stamp

log = logging.getLogger(__name__)
INDEX = ".rbee-index.json"
BLOCK = 4 * 2**20
_Rows = dict[str, tuple[int, int, str]]


class Hashes:
    """Id and stamp to sha256."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / INDEX
        self._rows: _Rows = _load(self._file)

    def get(self, found: Found) -> str:
        """Empty when the file has not been read since it changed."""
        size, mtime_ns, digest = self._rows.get(found.id, (0, 0, ""))
        return digest if Stamp(size, mtime_ns) == found.stamp else ""

    def put(self, found: Found, digest: str) -> None:
        self._rows[found.id] = (found.stamp.size, found.stamp.mtime_ns, digest)

    def kept(self, present: Iterable[Found]) -> bytes:
        """Forget what is not `present`; the rest, as `write` takes it."""
        ids = {found.id for found in present}
        self._rows = {k: row for k, row in self._rows.items() if k in ids}
        return msgspec.json.encode(self._rows)

    def write(self, rows: bytes) -> None:
        """Replace the file; one at a time. Blocking. A full disk costs only time later."""
        partial = self._file.with_suffix(".incomplete")
        try:
            partial.write_bytes(rows)
            os.replace(partial, self._file)
        except OSError as exc:
            log.warning("%s cannot be written: %s", self._file, exc.strerror)


def _load(file: Path) -> _Rows:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Rows)
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as exc:
        log.warning("%s is unreadable and will be made anew: %s", file, exc)
        return {}


def digest_of(path: Path, report: Callable[[int], None], stopped: Callable[[], bool]) -> str:
    """The file's sha256; empty when `stopped`. Blocking. Raises `OSError`."""
    state, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            if stopped():
                return ""
            state.update(block)
            done += len(block)
            report(done)
    return state.hexdigest()
