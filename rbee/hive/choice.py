"""Which file of a repository a name means. Pure: the listing goes in, one file comes out.

Names from a listing are outside text: one that is no model's name here is never chosen, so that no
listing can lead out of the models folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rbee.errors import BadModelFile, ModelAmbiguous, ModelNotFound, RbeeError
from rbee.naming import PREFERRED, Reference, parse

SHOWN = 12
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf\Z", re.IGNORECASE)
_NO_MODEL = re.compile(r"(?:\A|/)(?:mmproj|imatrix)|imatrix[^/]*\Z", re.IGNORECASE)


@dataclass(frozen=True)
class HubFile:
    """A file of a repository. `sha256` is empty where the hub does not tell it."""

    path: str
    size: int | None = None
    sha256: str = ""
    blob: str = ""


def choose(reference: Reference, files: Sequence[HubFile]) -> HubFile:
    """The one file that `reference` means.

    1. A file named in full must be there; it need be no model, but a part of one (a projector).
    2. Of a quantisation, the one file whose name has that word.
    3. Of a repository, the only model; else the first of `PREFERRED` that names one file.
    Raises `ModelNotFound` telling what is there, `ModelAmbiguous`, and `BadModelFile` for models
    in parts.
    """
    usable = [f for f in files if _is_nameable(reference.repo, f.path)]
    models = [f for f in usable if not _NO_MODEL.search(f.path)]
    if reference.file:
        wanted = reference.file.removeprefix(reference.repo + "/")
        fitting = [f for f in usable if f.path == wanted]
    elif reference.quant:
        fitting = [f for f in models if has_word(f.path, reference.quant)]
    else:
        fitting = models
    if not fitting:
        raise _nothing(reference, models, files)
    return _the_one(reference, fitting)


def _the_one(reference: Reference, fitting: Sequence[HubFile]) -> HubFile:
    entire = [f for f in fitting if not _PART.search(f.path)]
    if not entire:
        raise BadModelFile(
            f"{reference.name} is split into {len(fitting)} files, which rbee does not load yet.",
            hint="choose a smaller quantisation, or join the parts with llama-gguf-split --merge",
            path="$.model",
        )
    if len(entire) == 1:
        return entire[0]
    for quant in () if reference.quant else PREFERRED:
        preferred = [f for f in entire if has_word(f.path, quant)]
        if len(preferred) == 1:
            return preferred[0]
    raise ModelAmbiguous(
        f"Several files fit {reference.name!r}: {listed(entire)}.",
        hint=f"name one: {reference.repo}/{entire[0].path}",
        path="$.model",
    )


def has_word(path: str, quant: str) -> bool:
    """Whether a file (or its folder) is named after a quantisation: `Q4_K` is not `Q4_K_M`."""
    pattern = rf"(?<![A-Za-z0-9]){re.escape(quant)}(?![A-Za-z0-9_])"
    return re.search(pattern, path, re.IGNORECASE) is not None


def _is_nameable(repo: str, path: str) -> bool:
    if not path.lower().endswith(".gguf"):
        return False
    try:
        return parse(f"{repo}/{path}").file != ""
    except RbeeError:
        return False


def _nothing(
    reference: Reference, models: Sequence[HubFile], files: Sequence[HubFile]
) -> ModelNotFound:
    if models:
        return ModelNotFound(
            f"{reference.repo} has no file for {reference.name!r}. It has: {listed(models)}.",
            hint=f"name one: {reference.repo}/{models[0].path}",
            path="$.model",
        )
    return ModelNotFound(
        f"{reference.repo} holds no GGUF model. It has: {listed(files) or 'nothing'}.",
        hint="look for a repository with GGUF files; their names often end in -GGUF",
        path="$.model",
    )


def listed(files: Sequence[HubFile]) -> str:
    """File names for a message, not too many."""
    names = [f.path[:100] for f in files[:SHOWN]]
    more = [f"and {len(files) - SHOWN} more"] if len(files) > SHOWN else []
    return ", ".join(names + more)
