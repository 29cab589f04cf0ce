"""What lies in the models folder: a walk, and what each file's header says. Blocking; for a thread.

1. Every `*.gguf` below the folder whose path can be named; hidden things (partial downloads among
   them) are passed over.
2. A link that leads out of the folder is passed over: what is outside is not ours to serve.
3. What is no file (a pipe would be waited for without end) is passed over.
4. A header is read again only when size or modification time changed.

A file that cannot be loaded is kept with the reason, so that who asks for it is told.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from rbee import gguf_header
from rbee.errors import BadModelFile, RbeeError
from rbee.gguf_header import GgufHeader
from rbee.gguf_tables import FILE_TYPES
from rbee.hive.parts import CALLED, kind_of
from rbee.naming import parse

log = logging.getLogger(__name__)
MAX_FILES = 10_000
_QUANT = re.compile(
    r"(?<![A-Za-z0-9])(BF16|F16|F32|MXFP4(?:_MOE)?|I?Q\d_[A-Z0-9_]+|TQ\d_\d)(?![A-Za-z0-9])",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Stamp:
    """What tells one content of a file from the next, without reading it."""

    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Found:
    """A file of the folder. `fault` says why it is no model, if it is none; parts of models have a
    `header` all the same."""

    id: str
    path: Path
    stamp: Stamp
    header: GgufHeader | None = None
    fault: str = ""


class Shelf:
    """Walks a folder and remembers the headers it has read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, Found] = {}
        self._told: set[str] = set()

    def look(self) -> list[Found]:
        """Everything there now, by id."""
        found = [self._read(path, name) for path, name in self._files()]
        self._known = {f.id: f for f in found if f is not None}
        return sorted(self._known.values(), key=lambda f: f.id)

    def _files(self) -> Iterator[tuple[Path, str]]:
        count = 0
        for folder, folders, names in os.walk(self.folder):
            folders[:] = sorted(f for f in folders if not f.startswith("."))
            for name in sorted(names):
                if name.startswith(".") or not name.lower().endswith(".gguf"):
                    continue
                count += 1
                if count > MAX_FILES:
                    self._tell(f"more than {MAX_FILES} models in {self.folder}; the rest is unseen")
                    return
                path = Path(folder, name)
                yield path, path.relative_to(self.folder).as_posix()

    def _read(self, path: Path, name: str) -> Found | None:
        try:
            parse(name)
            inside = path.resolve(strict=True).is_relative_to(self.folder.resolve())
            stat = path.stat()
        except RbeeError:
            self._tell(f"{name!r} is passed over: such a name cannot be asked for")
            return None
        except (OSError, RuntimeError):
            return None  # gone, or a link to nowhere or in a circle (`RuntimeError`)
        if not S_ISREG(stat.st_mode):
            self._tell(f"{name!r} is passed over: it is no file")
            return None
        if not inside:
            self._tell(f"{name!r} is passed over: it is a link out of the models folder")
            return None
        stamp = Stamp(stat.st_size, stat.st_mtime_ns)
        before = self._known.get(name)
        return before if before and before.stamp == stamp else judged(name, path, stamp)

    def _tell(self, what: str) -> None:
        if what not in self._told and len(self._told) < MAX_FILES:
            self._told.add(what)
            log.warning("%s", what)


def judged(name: str, path: Path, stamp: Stamp) -> Found:
    """The file with its header, or with what is wrong with it."""
    try:
        header = gguf_header.read(path)
    except BadModelFile as exc:
        return Found(name, path, stamp, fault=exc.message)
    fault = unfit(header)
    if fault and kind_of(header) == "model":
        return Found(name, path, stamp, fault=fault)
    return Found(name, path, stamp, header, fault)


def unfit(header: GgufHeader) -> str:
    """Why a sound file is still no model that can be served alone; empty when it is one."""
    if (kind := kind_of(header)) != "model":
        return f"This file is {CALLED[kind]}: it answers nothing without its model."
    if header.kind != "model":
        return f"This file is no model of its own but a part of one ({header.kind[:40]!r})."
    if header.split_count > 1:
        return (
            f"This file is part {header.split_no + 1} of {header.split_count} of a model; "
            "split models are not loaded yet (llama-gguf-split --merge joins them)."
        )
    return ""


def quantisation(name: str, header: GgufHeader) -> str:
    """The file name's word before the header's: it is what people ask by, and it is finer."""
    words = _QUANT.findall(name.rsplit("/", 1)[-1])
    if words:
        return str(words[-1]).upper()
    return header.quantisation if header.quantisation in FILE_TYPES.values() else ""
