"""Which files a worker needs: its model, its adapters, its projector. Found before any is opened.

What is missing or badly named is wrong usage, told with the flag that named it. What a file holds
is not looked at here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from rbee import bee, naming, paths
from rbee.contracts.limits import Name
from rbee.errors import ModelNotFound, Usage


def find_model(name: str) -> Path:
    """The file that `--model` means: a path, `bee`, or the id of a file in rbee's home."""
    if not name:
        raise Usage("A worker needs --model: a GGUF file, or a model's id.", hint="--model bee")
    if name == bee.ID:
        return bee.path()
    if _is_file(name):
        return Path(name).absolute()
    naming.parse(name)
    inside = paths.models_dir() / name
    if inside.is_file():
        return inside
    raise ModelNotFound(
        f"No file {name[:200]!r}, and no model of that id in {paths.models_dir()}.",
        hint="give the path of a GGUF file, or fetch one: rbee model download org/repo:Q4_K_M",
    )


def find_projector(name: str) -> Path | None:
    """The file that `--projector` means; None when there shall be none."""
    if not name:
        return None
    if not _is_file(name):
        raise Usage(
            f"--projector {name[:200]}: there is no such file.",
            hint="it is a GGUF file; its name often begins with mmproj",
        )
    return Path(name).absolute()


def find_adapters(given: Sequence[str]) -> dict[str, Path]:
    """Name to file, for every `--lora NAME=FILE`."""
    found: dict[str, Path] = {}
    for text in given:
        name, equals, file = text.partition("=")
        if not equals or not file:
            raise Usage(f"--lora {text[:200]!r} is not NAME=FILE.", hint="--lora style=style.gguf")
        _check_name(name)
        if name in found:
            raise Usage(f"--lora names two adapters {name!r}.")
        if not _is_file(file):
            raise Usage(
                f"--lora {name}={file[:200]}: there is no such file.",
                hint="give a GGUF file's path",
            )
        found[name] = Path(file).absolute()
    return found


def _check_name(name: str) -> None:
    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError as exc:
        raise Usage(
            f"--lora: {name[:80]!r} cannot be an adapter's name.",
            hint="1 to 64 letters, digits, '.', '_' or '-', a letter or digit first",
        ) from exc


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # longer than a path may be, or with a NUL inside
        return False
