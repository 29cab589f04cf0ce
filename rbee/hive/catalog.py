"""The models of this hive: the folder is the truth, and `bee` is always there.

`refresh` looks at the folder (in a thread), `entries` tells what was seen last. Digests are made
one file after the other in the background; who needs one now (`identify`) does not queue for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import anyio
import msgspec

from rbee import bee, gguf_header
from rbee.contracts.fleet import FileKind, ModelEntry
from rbee.errors import BadModelFile, ModelInUse, ModelProtected, Unavailable, Usage
from rbee.hive import parts
from rbee.hive.hashes import BLOCK, Hashes, digest_of
from rbee.hive.shelf import Found, Shelf, quantisation
from rbee.naming import parse, resolve, unusable

log = logging.getLogger(__name__)
LOOK_S = 5.0
REPORT_BYTES = 16 * BLOCK
Loaded = Callable[[], Mapping[str, Sequence[str]]]
"""Model id to the workers that run it."""


class Catalog:
    """The only reader and remover of model files."""

    def __init__(self, folder: Path, loaded: Loaded, changed: Callable[[], None]) -> None:
        self.folder = folder
        self._loaded = loaded
        self._changed = changed
        self._shelf = Shelf(folder)
        self._hashes = Hashes(folder)
        self._found: dict[str, Found] = {}
        self._looking = anyio.Lock()
        self._writing = anyio.Lock()
        self._reading: dict[str, anyio.Lock] = {}
        self._news = anyio.Event()
        self._bee = embedded()

    def __repr__(self) -> str:
        return f"<Catalog {self.folder} {len(self._found)} files>"

    async def refresh(self) -> None:
        """Look at the folder now."""
        async with self._looking:
            found = {f.id: f for f in await anyio.to_thread.run_sync(self._shelf.look)}
            is_new, self._found = found != self._found, found
            self._reading = {k: lock for k, lock in self._reading.items() if k in found}
        if is_new:
            self._news.set()
            self._changed()

    def entries(self) -> list[ModelEntry]:
        """What is there, as of the last look; `bee` first. Files that cannot be loaded say why."""
        loaded = self._loaded()
        made = [self._entry(f) for f in self._found.values()]
        projectors = parts.by_folder(e.id for e in made if e.kind == "projector")
        for entry in made:
            if entry.kind == "model" and not entry.problem:
                entry.projector = parts.projector_of(entry.id, projectors)
        return [
            msgspec.structs.replace(entry, loaded_by=list(loaded.get(entry.id, ())))
            for entry in (self._bee, *made)
        ]

    def find(self, name: str) -> ModelEntry:
        """The entry a name means, a model's or a part's. Raises as `naming.resolve`, and
        `BadModelFile` for a file that is there and of no use."""
        entry = resolve(name, self.entries())
        if entry.problem and entry.kind == "model":
            raise unusable(entry)
        return entry

    def find_model(self, name: str) -> ModelEntry:
        """As `find`, for what can answer requests; `BadModelFile` for parts of models too."""
        entry = self.find(name)
        if entry.problem:
            raise unusable(entry)
        return entry

    def find_part(self, name: str, kind: FileKind, path: str) -> ModelEntry:
        """The adapter or the projector that a name means; `path` is where the name stands."""
        return parts.find(name, kind, self.entries(), path)

    def id_of(self, file: str) -> str:
        """What a file is called here; a file that is not among ours is called as it is."""
        return next((found.id for found in self._found.values() if str(found.path) == file), file)

    async def identify(self, entry: ModelEntry, report: Callable[[int, int], None]) -> ModelEntry:
        """The entry with its sha256, read now if need be."""
        found = self._found.get(entry.id)
        if entry.sha256 or found is None:
            return entry
        digest = await self._digest(found, partial(_report, report, entry.size))
        if not digest:
            raise BadModelFile(f"{entry.id} cannot be read.", path="$.model")
        return msgspec.structs.replace(entry, sha256=digest)

    async def adopt(self, model_id: str, digest: str) -> None:
        """Remember the digest of a file that was just fetched and checked."""
        found = self._found.get(model_id)
        if found is not None and digest:
            await self._remember(found, digest)

    async def delete(self, name: str) -> str:
        """Remove a file; returns its id. Files that cannot be loaded can be removed all the same.

        Raises `ModelProtected` for `bee`, `ModelInUse` while a worker holds it.
        """
        parse(name)
        await self.refresh()
        wanted = resolve(name, self.entries()).id
        self._check_free(wanted)
        try:
            await anyio.to_thread.run_sync(_remove, self._found[wanted].path, self.folder)
        except OSError as exc:
            raise Unavailable(f"{wanted} cannot be removed: {exc.strerror}.") from exc
        log.info("deleted model %s", wanted)
        await self.refresh()
        return wanted

    async def loop(self) -> None:
        """Look again and again, and read what is new; for the hive's task group."""
        while True:
            await self.refresh()
            self._news = anyio.Event()
            await self._read_new()
            with anyio.move_on_after(LOOK_S):
                await self._news.wait()

    async def _read_new(self) -> None:
        for found in list(self._found.values()):
            if found.header is not None and not self._hashes.get(found):
                await self._digest(found, lambda done: None)

    async def _digest(self, found: Found, report: Callable[[int], None]) -> str:
        """One reader a file. Empty when the file went away."""
        async with self._reading.setdefault(found.id, anyio.Lock()):
            if known := self._hashes.get(found):
                return known
            try:
                digest = await _in_thread(found.path, report)
            except OSError as exc:
                log.warning("%s cannot be read: %s", found.path, exc.strerror)
                return ""
            await self._remember(found, digest)
        return digest

    async def _remember(self, found: Found, digest: str) -> None:
        self._hashes.put(found, digest)
        async with self._writing:
            rows = self._hashes.kept(self._found.values())
            await anyio.to_thread.run_sync(self._hashes.write, rows)
        self._changed()

    def _check_free(self, model_id: str) -> None:
        if model_id == bee.ID:
            raise ModelProtected("bee is part of rbee and cannot be deleted.", path="$.model")
        holders = self._loaded().get(model_id, ())
        if holders:
            raise ModelInUse(
                f"{model_id} is loaded by {', '.join(holders)}.",
                hint=f"first: rbee worker delete {holders[0]}",
            )

    def _entry(self, found: Found) -> ModelEntry:
        if found.header is None:
            return ModelEntry(
                id=found.id, file=str(found.path), size=found.stamp.size, problem=found.fault
            )
        return ModelEntry(
            id=found.id,
            file=str(found.path),
            size=found.stamp.size,
            sha256=self._hashes.get(found),
            architecture=found.header.architecture[:64],
            quantisation=quantisation(found.id, found.header),
            context=found.header.context,
            problem=found.fault,
            kind=parts.kind_of(found.header),
        )


def embedded() -> ModelEntry:
    """The entry of the model inside rbee."""
    path = bee.path()
    header = gguf_header.read(path)
    return ModelEntry(
        id=bee.ID,
        file=str(path),
        size=path.stat().st_size,
        sha256=bee.SHA256,
        architecture=header.architecture,
        quantisation=header.quantisation,
        context=header.context,
        embedded=True,
    )


async def _in_thread(path: Path, report: Callable[[int], None]) -> str:
    """Digest in a thread that ends when we are cancelled."""
    stopped = False
    try:
        return await anyio.to_thread.run_sync(
            digest_of, path, report, lambda: stopped, abandon_on_cancel=True
        )
    finally:
        stopped = True


def _report(report: Callable[[int, int], None], size: int, done: int) -> None:
    """From the digest's thread into the event loop, now and then."""
    if done == size or done % REPORT_BYTES == 0:
        anyio.from_thread.run_sync(report, done, size)


def make_folder(folder: Path) -> None:
    """Raises `Usage` when there can be no such folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise Usage(
            f"The models folder {folder} cannot be made: {exc.strerror}.",
            hint="models_dir in hive.toml, or RBEE_HOME, names another",
        ) from exc


def _remove(path: Path, folder: Path) -> None:
    """Unlink, and the folders that this leaves empty."""
    path.unlink(missing_ok=True)
    for parent in path.parents:
        if parent == folder or any(parent.iterdir()):
            return
        parent.rmdir()
