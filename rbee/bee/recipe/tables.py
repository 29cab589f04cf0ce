"""Reads the recipe's data files. Knows where they lie, not what they mean."""

import tomllib
from importlib.resources import files
from typing import Any

Table = dict[str, Any]


def load(name: str) -> Table:
    """The table in data/NAME.toml."""
    file = files("rbee.bee.recipe").joinpath("data", f"{name}.toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))


def turns(name: str) -> list[tuple[str, str]]:
    """data/NAME.toml, where every entry is a template of questions and their one answer."""
    return [(entry["ask"], entry["answer"]) for entry in load(name)[name]]
