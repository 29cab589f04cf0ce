"""Every command against a real queen, hive and worker."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from rbee import bee
from tests.keeper.command import Rbee, local


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def worker_id(fleet: Rbee) -> str:
    """A worker that runs bee."""
    spawned = fleet("worker", "spawn", "bee", "--slots", "2", "--json")
    assert spawned.code == 0, spawned.err
    *progress, done = lines(spawned.out)
    assert {p["type"] for p in progress} <= {"progress"}
    found: str = done["result"]["worker_id"]
    return found


def test_infer(fleet: Rbee, worker_id: str) -> None:
    told = fleet("infer", "Hello, who are you?", "--worker-id", worker_id)
    assert (told.code, told.err) == (0, "")
    assert "Bee" in told.out


def test_infer_json(fleet: Rbee, worker_id: str) -> None:
    events = lines(fleet("infer", "Hello, who are you?", "--json").out)
    assert events[-1]["type"] == "done"
    assert events[-1]["sha256"] == bee.SHA256
    assert "Bee" in "".join(e["text"] for e in events if e["type"] == "token")


def test_ctrl_c_frees_the_slot(fleet: Rbee, worker_id: str) -> None:
    endless = ["one two three", "--raw", "--max-tokens", "1500", "--temperature", "3"]
    with fleet.running("infer", *endless, "--worker-id", worker_id) as child:
        assert child.stdout is not None
        os.read(child.stdout.fileno(), 1)
        child.send_signal(signal.SIGINT)
        assert child.wait(10) == 130
    end = time.monotonic() + 10
    while True:
        [status] = lines(fleet("status", "--json").out)
        busy = [w["worker"]["busy"] for w in status["workers"]]
        if status["queue"]["leased"] == 0 and not any(busy):
            return
        assert time.monotonic() < end, status


def test_chat(fleet: Rbee, worker_id: str) -> None:
    told = fleet("chat", stdin="Hello, who are you?\n")
    assert (told.code, "Bee" in told.out) == (0, True)


def test_status(fleet: Rbee, worker_id: str) -> None:
    told = fleet("status")
    assert told.code == 0
    assert all(name in told.out for name in ("nest", worker_id, "bee", fleet.hive))
    assert "\x1b" not in told.out
    [status] = lines(fleet("status", "--json").out)
    assert [h["hive"]["id"] for h in status["hives"]] == ["nest"]


def test_top_ends_by_itself_when_told_how_often(fleet: Rbee) -> None:
    ticks = lines(fleet("top", "--json", "--count", "2", "--interval", "0.1").out)
    assert len(ticks) == 2
    assert "nest" in fleet("top", "--count", "1").out


def test_worker_list_get_and_delete(fleet: Rbee) -> None:
    spawned = fleet("worker", "spawn", "bee", "--device", "cpu")
    assert spawned.code == 0, spawned.err
    made = spawned.out.split()[0]
    assert spawned.out.startswith(f"{made} serves bee at http://127.0.0.1:")
    assert made in fleet("worker", "list").out
    assert made in fleet("worker", "get", made).out
    [got] = lines(fleet("worker", "get", made, "--json").out)
    assert got["state"] == "ready"
    assert fleet("worker", "delete", "--pid", str(got["pid"])).code == 0
    [left] = lines(fleet("worker", "list", "--json").out)
    assert made not in [w["worker_id"] for w in left["workers"]]
    missing = fleet("worker", "get", made)
    assert missing.code == 1
    assert made in missing.err


def test_models(fleet: Rbee) -> None:
    assert "bee" in fleet("model", "list").out
    assert bee.SHA256 in fleet("model", "get", "bee").out
    [got] = lines(fleet("model", "get", "bee", "--json").out)
    assert got["embedded"] is True
    kept = fleet("model", "delete", "bee")
    assert kept.code == 1
    assert "bee" in kept.err


def test_a_name_that_no_repository_has(fleet: Rbee) -> None:
    told = fleet("model", "download", "nope")
    assert (told.code, told.err.splitlines()[1:]) == (
        1,
        ["hint: a repository looks like org/repo"],
    )
    told = fleet("model", "download", "http://x/y.gguf")
    assert (told.code, "A URL is no model's name." in told.err) == (1, True)


def test_a_hive_by_its_id(fleet: Rbee) -> None:
    by_id = Rbee(fleet.home, fleet.queen, "http://127.0.0.1:1")
    assert "bee" in by_id("model", "list", "--hive", "nest").out
    told = by_id("model", "list", "--hive", "elsewhere")
    assert (told.code, "nest" in told.err) == (1, True)
    refused = fleet("model", "list", "--hive-id", "elsewhere")
    assert (refused.code, "nest" in refused.err) == (1, True)


def test_embed(fleet: Rbee, worker_id: str) -> None:
    told = fleet("embed", "one", "two")
    assert told.code == 0, told.err
    vectors = lines(told.out)
    assert len(vectors) == 2
    assert len(vectors[0]) == len(vectors[1]) > 8
    [raw] = lines(fleet("embed", "one", "--json").out)
    assert raw["object"] == "list"


def test_gui_says_where(fleet: Rbee) -> None:
    told = fleet("gui", "--no-open")
    assert (told.code, told.out) == (0, f"{fleet.queen}/\n")


def test_doctor(fleet: Rbee, tmp_path: Path) -> None:
    told = fleet("doctor", "--json")
    found = {f["check"]: f for f in lines(told.out)}
    assert told.code == 0, told.out
    assert {"python", "llama.cpp", "state", "models", "queen", "hive"} <= set(found)
    assert found["queen"]["said"] == f"answers at {fleet.queen}"
    two = f"{fleet.queen},{local(tmp_path).queen}"
    told_of = [f["said"] for f in lines(fleet("doctor", "--json", "--queen", two).out)]
    assert [any(url in said for said in told_of) for url in two.split(",")] == [True, True]
    (tmp_path / "state").write_text("in the way")
    bad = Rbee(tmp_path, fleet.queen, fleet.hive)("doctor")
    assert bad.code == 1
    assert "hint: set RBEE_HOME" in bad.out
