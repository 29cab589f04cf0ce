"""How models and devices are named, and which entry a name means. Pure; knows no disk and no hub.

    bee                     the embedded model
    org/repo                any file of that repository (one is chosen, or the choice is asked for)
    org/repo:QUANT          the file of that quantisation
    org/repo/dir/file.gguf  exactly that file
    name.gguf, dir/x.gguf   a file somebody put into the models folder (also without `.gguf`)

A name never becomes a path before `parse` has accepted it: no `..`, no absolute path, no NUL, no
backslash, bounded length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rbee.contracts.fleet import ModelEntry
from rbee.errors import BadModelFile, BadRequest, ModelAmbiguous, ModelNotFound

MAX_LENGTH = 512
PREFERRED = ("Q4_K_M", "Q8_0", "Q5_K_M", "Q6_K", "Q4_0", "F16", "BF16")
"""Which quantisation `org/repo` means when it holds several: a good size first."""
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*\Z")
_QUANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]{0,31}\Z")


@dataclass(frozen=True)
class Reference:
    """A parsed name. `repo` is empty for files that came from no hub."""

    name: str
    repo: str = ""
    quant: str = ""
    file: str = ""

    @property
    def downloadable(self) -> bool:
        return bool(self.repo)


def parse(name: str) -> Reference:
    """Read a model's name; raises `BadRequest` saying what is wrong with it."""
    if not name or len(name) > MAX_LENGTH:
        raise _bad(name, f"it has {len(name)} characters; 1 to {MAX_LENGTH} are allowed")
    if "://" in name:
        hint = "name the repository: org/repo"
        raise BadRequest("A URL is no model's name.", hint=hint, path="$.model")
    body, colon, quant = name.partition(":")
    if colon and not _QUANT.match(quant):
        raise _bad(name, "after the colon stands a quantisation such as Q4_K_M")
    parts = body.split("/")
    for part in parts:
        if not _PART.match(part) or ".." in part:
            raise _bad(name, f"{part[:40]!r} cannot be part of a name")
    is_file = body.lower().endswith(".gguf")
    if colon and (is_file or len(parts) != 2):
        raise _bad(name, "a quantisation follows org/repo")
    if len(parts) == 1:
        return Reference(name, file=body if is_file else "")
    if is_file:
        repo = "/".join(parts[:2]) if len(parts) > 2 else ""
        return Reference(name, repo=repo, file=body)
    if len(parts) != 2:
        raise _bad(name, "a path inside a repository ends in .gguf")
    return Reference(name, repo=body, quant=quant)


def _bad(name: str, why: str) -> BadRequest:
    return BadRequest(
        f"{name[:80]!r} is not a model's name: {why}.",
        hint="names look like bee, org/repo, org/repo:Q4_K_M or org/repo/file.gguf",
        path="$.model",
    )


def matches(reference: Reference, entry: ModelEntry) -> bool:
    """Whether `entry` is one of the files that `reference` may mean."""
    if entry.id in (reference.name, f"{reference.name}.gguf"):
        return True
    if entry.problem or reference.file or not reference.repo:
        return False
    if not entry.id.startswith(reference.repo + "/"):
        return False
    return not reference.quant or entry.quantisation.upper() == reference.quant.upper()


def resolve(name: str, entries: Sequence[ModelEntry]) -> ModelEntry:
    """The one entry that `name` means.

    Raises `BadRequest` for what is no name, `ModelNotFound` (naming what is known) when nothing
    fits, `ModelAmbiguous` when several fit and none is preferred.
    """
    reference = parse(name)
    found = [e for e in entries if matches(reference, e)]
    if not found:
        raise unknown(name, (e.id for e in entries))
    exact = [e for e in found if e.id in (name, f"{name}.gguf")]
    if exact or len(found) == 1:
        return (exact or found)[0]
    for quant in PREFERRED:
        fitting = [e for e in found if e.quantisation.upper() == quant]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            found = fitting
            break
    raise ModelAmbiguous(
        f"Several files fit {name!r}: {', '.join(sorted(e.id for e in found)[:8])}.",
        hint=f"name one of them, or a quantisation: {reference.repo}:QUANT",
        path="$.model",
    )


def unusable(entry: ModelEntry) -> BadModelFile:
    """The error for a file that is there and cannot be loaded, or not alone."""
    hints = {
        "model": f"rbee model delete {entry.id}, and fetch it anew",
        "adapter": f"rbee worker spawn MODEL --lora NAME={entry.id}",
        "projector": f"rbee worker spawn MODEL --projector {entry.id}",
    }
    return BadModelFile(f"{entry.id}: {entry.problem}", hint=hints[entry.kind], path="$.model")


def unknown(name: str, known: Iterable[str]) -> ModelNotFound:
    """The 404 for a model nobody has: with what is known, and how to get one."""
    names = sorted(set(known))
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return ModelNotFound(
        f"No model {name[:80]!r} here. Known: {shown or 'none'}.",
        hint="fetch one with: rbee model download org/repo:Q4_K_M",
        path="$.model",
    )


def device_fits(device: str, wanted: str | None) -> bool:
    """Whether `device` (such as `cuda:1`) is what `wanted` (`cuda`, `cuda:1`, None) allows."""
    return wanted is None or device == wanted or device.startswith(wanted + ":")
