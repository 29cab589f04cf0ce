"""Files that take part in a model's answers: LoRA adapters, and projectors, which let it see. Pure.

1. What a file is, its header says (`general.type`); nobody infers with a part alone.
2. A part is named like a model, and must be of the kind that is asked for.
3. A model's own projector lies in its folder, or in its repository's. The models folder itself is
   nobody's: what lies there belongs to whoever names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from rbee.contracts.fleet import FileKind, ModelEntry
from rbee.errors import BadModelFile, BadRequest, ModelNotFound, RbeeError
from rbee.gguf_header import GgufHeader
from rbee.hive.choice import has_word
from rbee.naming import resolve, unusable

CALLED: dict[FileKind, str] = {
    "model": "a model",
    "adapter": "a LoRA adapter",
    "projector": "a projector",
}
_KINDS: dict[str, FileKind] = {"adapter": "adapter", "mmproj": "projector"}
_FINER = ("F16", "BF16", "Q8_0", "F32")
"""Which of a model's projectors is taken: what the others gain is not seen."""


def kind_of(header: GgufHeader) -> FileKind:
    return _KINDS.get(header.kind, "model")


def by_folder(projectors: Iterable[str]) -> dict[str, list[str]]:
    """Folder to the projectors that lie in it."""
    found: dict[str, list[str]] = {}
    for projector in projectors:
        found.setdefault(projector.rpartition("/")[0], []).append(projector)
    return found


def projector_of(model: str, projectors: Mapping[str, Sequence[str]]) -> str:
    """The id of the projector that belongs to a model's id; empty when there is none."""
    folder = own = model.rpartition("/")[0]
    while folder:
        if folder in projectors and (folder == own or "/" in folder):  # org/repo, but not org
            return min(projectors[folder], key=_rank)
        folder = folder.rpartition("/")[0]
    return ""


def _rank(projector: str) -> tuple[int, str]:
    """The first of `_FINER` that its name has; then by name."""
    ranks = (n for n, word in enumerate(_FINER) if has_word(projector, word))
    return next(ranks, len(_FINER)), projector


def find(name: str, kind: FileKind, entries: Sequence[ModelEntry], path: str) -> ModelEntry:
    """The part that a name means. Raises as `naming.resolve` does, with `path` for where the name
    stands, and `BadModelFile` for a file of another kind."""
    try:
        try:
            return resolve(name, [replace(e, problem="") for e in entries if e.kind == kind])
        except ModelNotFound:
            raise _other_kind(resolve(name, entries), kind) from None
    except ModelNotFound:
        known = ", ".join(sorted(e.id for e in entries if e.kind == kind)[:12])
        raise ModelNotFound(
            f"{CALLED[kind].capitalize()} {name[:80]!r} is not here. Known: {known or 'none'}.",
            hint="fetch one with: rbee model download org/repo/file.gguf",
            path=path,
        ) from None
    except RbeeError as exc:
        exc.path = path
        raise


def _other_kind(entry: ModelEntry, wanted: FileKind) -> BadModelFile:
    if entry.kind == "model" and entry.problem:
        return unusable(entry)
    return BadModelFile(f"{entry.id} is {CALLED[entry.kind]}, not {CALLED[wanted]}.")


def check_fits(adapter: ModelEntry, model: ModelEntry, path: str) -> None:
    """What is known without loading: an adapter is for models of one architecture."""
    if adapter.architecture != model.architecture:
        raise BadRequest(
            f"{adapter.id} is an adapter for {adapter.architecture!r} models;"
            f" {model.id} is {model.architecture!r}.",
            path=path,
        )
