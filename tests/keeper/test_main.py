"""`rbee serve` itself: roles as processes, ready lines, signals, failures."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from rbee.client.transport import call
from tests.keeper.command import Rbee, local


@pytest.fixture
def rbee(tmp_path: Path) -> Rbee:
    return local(tmp_path)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_without_a_role_queen_and_hive_share_a_process(rbee: Rbee, how: signal.Signals) -> None:
    with rbee.running("serve", "--queen-port", "0", "--hive-port", "0") as child:
        assert child.stdout is not None
        urls = [child.stdout.readline().decode().split()[1] for _ in range(2)]
        health = [json.loads(call("GET", f"{url}/health")) for url in urls]
        assert sorted(h["role"] for h in health) == ["hive", "queen"]
        child.send_signal(how)
        assert child.wait(15) == 0


def test_without_a_role_the_addresses_name_the_ports(rbee: Rbee) -> None:
    with rbee.running("serve") as child:
        assert child.stdout is not None
        ready = {child.stdout.readline().decode() for _ in range(2)}
        assert ready == {f"ready {rbee.queen}\n", f"ready {rbee.hive}\n"}


def test_a_worker_without_its_model(rbee: Rbee) -> None:
    told = rbee("serve", "--role", "worker", "--model", "/nonexistent.gguf", "--port", "0")
    kind, _, problem = told.out.partition(" ")
    assert (told.code, kind) == (1, "failed")
    assert json.loads(problem)["code"]
    assert "Traceback" not in told.err


def test_an_open_bind_is_said(rbee: Rbee) -> None:
    arguments = ["serve", "--role", "queen", "--bind", "0.0.0.0", "--insecure", "--port", "0"]
    with rbee.running(*arguments) as child:
        assert child.stdout is not None and child.stderr is not None
        assert child.stdout.readline().startswith(b"ready http://")
        child.terminate()
        assert child.wait(15) == 0
        assert b"INSECURE" in child.stderr.read()
