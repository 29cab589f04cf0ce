"""The house stands on its ranks: a module imports its own folder, or something strictly lower.

Read from the syntax trees, so that imports inside functions and under TYPE_CHECKING count too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "rbee"
RANKS = {
    "contracts": 0,
    "errors": 0,
    "config": 1,
    "log": 1,
    "naming": 1,
    "paths": 1,
    "gguf_header": 1,
    "gguf_tables": 0,
    "bee": 1,
    "ui": 1,
    "wire": 2,
    "client": 3,
    "queen": 4,
    "hive": 4,
    "worker": 4,
    "keeper": 4,
    "main": 5,
}
ONLY = {
    "llama_cpp": ("rbee/worker/engine/llama/",),
    "rich": ("rbee/keeper/",),
    "click": ("rbee/keeper/", "rbee/main.py"),
    "huggingface_hub": ("rbee/hive/",),
    "aiohttp": ("rbee/wire/http.py", "rbee/queen/", "rbee/keeper/bench/", "rbee/keeper/chaos/"),
}
"""Library to the only places that may import it."""
RECIPE = "rbee/bee/recipe/"
"""How the embedded model was made: tools of a person at a workbench, imported by nothing."""
MODULES = sorted(ROOT.rglob("*.py"))


def name_of(file: Path) -> str:
    return file.relative_to(ROOT.parent).as_posix()


def room_of(module: str) -> str:
    """`rbee.wire.http` lives in `wire`; the package itself in none."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imported(file: Path) -> Iterator[tuple[int, str]]:
    """Every module that `file` imports, with the line."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(file)}:{node.lineno} imports relatively"
            base = node.module or ""
            if base == "rbee":
                yield from ((node.lineno, f"rbee.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, base


def test_every_room_has_a_rank() -> None:
    rooms = {p.stem if p.is_file() else p.name for p in ROOT.iterdir() if _counts(p)}
    assert rooms - {"__init__"} == set(RANKS)


def _counts(path: Path) -> bool:
    return path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py")))


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_a_module_imports_its_own_room_or_a_lower_one(file: Path) -> None:
    own = file.relative_to(ROOT).parts[0].removesuffix(".py")
    for number, module in imported(file):
        room = room_of(module) if module.split(".")[0] == "rbee" else ""
        if not room or room == own or room.startswith("__"):
            continue
        lower = RANKS[room] < RANKS.get(own, -1)
        assert lower, f"{name_of(file)}:{number} imports {module}, which is not lower"


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_a_library_stays_in_its_room(file: Path) -> None:
    if name_of(file).startswith(RECIPE):
        return
    for number, module in imported(file):
        allowed = ONLY.get(module.split(".")[0])
        if allowed is not None:
            where = f"{name_of(file)}:{number}"
            assert name_of(file).startswith(allowed), f"{where} imports {module}"


def test_nothing_imports_the_recipe_or_the_launcher() -> None:
    for file in MODULES:
        if not name_of(file).startswith(RECIPE):
            assert not any(m.startswith("rbee.bee.recipe") for _, m in imported(file)), file
    assert not (ROOT / "rbee.py").exists()
