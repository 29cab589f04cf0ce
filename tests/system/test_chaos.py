"""`rbee chaos` as a person calls it: what the project promises, measured."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rbee.keeper.chaos.guardian import strays
from tests.system.stack import RBEE, Stack, environment, fact, free_ports, stack

LIMIT_S = 900
pytestmark = [pytest.mark.slow, pytest.mark.timeout(LIMIT_S)]
SUITE = {
    "worker-kill": 50,
    "queen-kill": 20,
    "queen-lost": 5,
    "hive-kill-adopt": 3,
    "hive-kill-gone": 1,
    "worker-wedge": 2,
    "worker-drain": 4,
    "hive-drain": 4,
    "poison": 2,
    "rolling-restart": 1,
    "cancel": 2,
}
"""Scenario to how often it happens here. `overload` and `slow-reader` judge times and memory of a
machine that does nothing else: they are for `rbee chaos`, not for a suite."""
COUNTED = ("failed", "lost", "repeated", "differing")


def run(env: dict[str, str], *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    done = subprocess.run(
        [*RBEE, "chaos", "--json", *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Throw-away fleets are made in this test's own folder."""
    return environment(tmp_path, *free_ports(2), TMPDIR=str(tmp_path))


def left_over(folder: Path) -> list[str]:
    """Processes of a throw-away fleet that still run, and its folder."""
    running = [str(process) for process in strays(folder)]
    return running + [str(found) for found in folder.glob("rbee-chaos-*")]


@pytest.mark.parametrize(("scenario", "n"), SUITE.items(), ids=lambda value: str(value))
def test_a_scenario_passes(tmp_path: Path, env: dict[str, str], scenario: str, n: int) -> None:
    code, rows, errors = run(env, scenario, "--n", str(n))
    (row,) = rows or [{}]
    assert row.get("passed"), (row, errors)
    assert not any(row[name] for name in COUNTED), row
    assert code == 0 and not left_over(tmp_path)


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_whatever_ends_it_nothing_is_left(tmp_path: Path, env: dict[str, str], how: str) -> None:
    command = [*RBEE, "chaos", "worker-kill", "--n", "1000"]
    if how == "SIGTERM":  # as a job in the background of a script
        command = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *command]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as child:
        fact(lambda: len(left_over(tmp_path)) >= 8, "it runs, guarded, with five processes")
        child.send_signal(getattr(signal, how))
        assert child.wait(30) == (130 if how != "SIGKILL" else -9)
    fact(lambda: not left_over(tmp_path), "nothing is left")


def test_a_fleet_of_ones_own_comes_back_as_it_was(tmp_path: Path) -> None:
    with stack(tmp_path) as made:
        code, rows, errors = run(made.env, "worker-kill", "--n", "2", "--really", "--yes")
        assert rows and rows[0]["events"] == 2, (rows, errors)
        fact(lambda: not workers(made), "the workers that it started are gone")
        assert rows[0]["passed"] and code == 0, rows


def workers(made: Stack) -> list[str]:
    return [worker.worker_id for worker in made.client.workers()]
