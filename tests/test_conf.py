"""`conf/` tells the truth: every key of every role, at its default, and nothing else."""

from __future__ import annotations

import configparser
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rbee import config

CONF = Path(__file__).resolve().parent.parent / "conf"
KINDS: dict[str, type[config.Common]] = {
    "queen": config.QueenConfig,
    "hive": config.HiveConfig,
    "worker": config.WorkerConfig,
}
NO_DEFAULT = {("worker", "port"): 8080}
"""TOML has no null: what stands there for a key whose default is "left out"."""
SETTING = re.compile(r"^#([a-z_0-9]+ = .*)$", re.MULTILINE)


def uncommented(role: str) -> dict[str, Any]:
    text = (CONF / f"{role}.toml").read_text("utf-8")
    return tomllib.loads("\n".join(SETTING.findall(text)))


@pytest.mark.parametrize("role", KINDS)
def test_every_key_stands_there_at_its_default(role: str) -> None:
    defaults = msgspec.to_builtins(KINDS[role]())
    for (owner, key), value in NO_DEFAULT.items():
        if owner == role:
            assert defaults[key] is None
            defaults[key] = value
    assert uncommented(role) == {k: list(v) if v == () else v for k, v in defaults.items()}


@pytest.mark.parametrize("role", KINDS)
def test_the_file_as_it_is_changes_nothing(role: str) -> None:
    assert tomllib.loads((CONF / f"{role}.toml").read_text("utf-8")) == {}


@pytest.mark.parametrize("role", KINDS)
def test_every_key_is_explained(role: str) -> None:
    """A setting follows its explanation, or the setting that it is explained together with."""
    previous = ""
    for text in (CONF / f"{role}.toml").read_text("utf-8").splitlines():
        if SETTING.match(text):
            assert previous.startswith("#"), f"{text} has no comment above it"
        previous = text


@pytest.mark.parametrize("file", sorted((CONF / "examples").rglob("*.toml")), ids=str)
def test_examples_load(file: Path) -> None:
    if file.stem == "queen":
        config.load(config.QueenConfig, file, {})
    else:
        config.load(config.HiveConfig, file, {})


@pytest.mark.parametrize("role", ["queen", "hive"])
def test_units_start_the_role_and_let_it_write_only_its_state(role: str) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(CONF / "systemd" / f"rbee-{role}.service", "utf-8")
    service = unit["Service"]
    assert service["ExecStart"].endswith(f"rbee serve --role {role}")
    assert service["ProtectSystem"] == "strict"
    assert service["Restart"] == "on-failure"
    assert service["Environment"] == f"RBEE_HOME=/var/lib/{service['StateDirectory']}"


def test_a_unit_is_not_killed_in_the_middle_of_its_drain() -> None:
    for role, kind in (("queen", config.QueenConfig()), ("hive", config.HiveConfig())):
        text = (CONF / "systemd" / f"rbee-{role}.service").read_text("utf-8")
        seconds = int(re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)[0])
        assert seconds >= kind.drain_s + 8
