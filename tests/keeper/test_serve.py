"""`rbee serve`: which flags reach which role, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbee.keeper.cli import run
from rbee.keeper.serve import Serving


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RBEE_QUEEN_URL", "RBEE_HIVE_URL", "RBEE_CONFIG", "RBEE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RBEE_HOME", str(tmp_path))


def asked(*arguments: str) -> Serving:
    """What the runner is told."""
    told: list[Serving] = []
    assert run(["serve", *arguments], told.append) == 0
    return told[0]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    def never(serving: Serving) -> None:
        raise AssertionError(f"{serving} was run")

    assert run(["serve", *arguments], never) == 2
    return capsys.readouterr().err


def test_a_workers_flags_reach_it() -> None:
    serving = asked("--role", "worker", "--model", "x.gguf", "--ctx", "512", "--gpu-layers", "-1")
    assert serving.role == "worker"
    assert serving.flags("worker") == {"model": "x.gguf", "context": "512", "gpu_layers": "-1"}


def test_adapters_are_named_one_by_one() -> None:
    serving = asked("--role", "worker", "--lora", "a=x.gguf", "--lora", "b=y.gguf")
    assert serving.flags("worker") == {"lora": ("a=x.gguf", "b=y.gguf")}
    more = asked("--role", "worker", "--projector", "e.gguf", "--speculate-tokens", "4")
    assert more.flags("worker") == {"projector": "e.gguf", "speculate_tokens": "4"}


def test_a_flag_of_another_role_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--model is no flag of a queen." in refused(capsys, "--role", "queen", "--model", "x")
    assert "--ctx is no flag of a queen." in refused(capsys, "--role", "queen", "--ctx", "9")
    assert "--queen is no flag" in refused(capsys, "--queen", "http://x")
    assert "port is --port" in refused(capsys, "--role", "hive", "--hive-port", "1")


def test_without_a_role_each_takes_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    serving = asked("--id", "nest", "--queue-limit", "9", "--queen-port", "1", "--hive-port", "2")
    assert serving.role is None
    assert serving.flags("queen") == {"queue_limit": "9", "port": "1"}
    assert serving.flags("hive") == {"id": "nest", "port": "2"}
    assert "two ports" in refused(capsys, "--port", "1")


def test_one_port_for_every_role_is_refused_by_its_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RBEE_PORT", "7001")
    assert "RBEE_PORT is one port for every role" in refused(capsys)
    assert "port" not in asked("--role", "queen").flags("queen")


def test_a_hives_workers_are_told_how_to_compute() -> None:
    serving = asked("--role", "hive", "--kv-tokens", "9000", "--batch-tokens", "64")
    assert serving.flags("hive") == {"kv_tokens": "9000", "batch_tokens": "64"}


def test_without_a_role_ports_come_from_the_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RBEE_QUEEN_URL", "http://127.0.0.1:7001")
    serving = asked("--hive-port", "7002")
    assert (serving.flags("queen")["port"], serving.flags("hive")["port"]) == (7001, "7002")
    assert "port" not in asked("--role", "queen").flags("queen")


def test_of_several_queens_addresses_the_first_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RBEE_QUEEN_URL", "http://127.0.0.1:7001, http://10.0.0.2:7833")
    assert asked().flags("queen")["port"] == 7001


def test_a_settings_file_belongs_to_one_role(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "own.toml"
    assert "no settings file" in refused(capsys, "--role", "queen", "--config", str(file))
    file.write_text("")
    assert asked("--role", "queen", "--config", str(file)).file("queen") == file
    assert "two roles" in refused(capsys, "--config", str(file))
    assert asked().file("hive") == tmp_path / "config" / "hive.toml"
