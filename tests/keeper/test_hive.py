"""`rbee hive` and draining deletes, in front of a scripted hive."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rbee.client import requests
from rbee.contracts import operations
from tests.client.stub import problem, stub, whole
from tests.keeper.command import Rbee, local


@pytest.fixture
def rbee(tmp_path: Path) -> Rbee:
    return local(tmp_path)


@pytest.mark.parametrize(
    ("flags", "asked", "answer", "words"),
    [
        ([], {}, ["w-1", "w-2"], "nest is drained; stopped: w-1, w-2\n"),
        (["--drain-s", "3"], {"drain_s": 3.0}, [], "nest is drained; it had no worker\n"),
        (["--undo"], {"undo": True}, [], "nest takes work again\n"),
        (["--hive-id", "nest"], {"hive_id": "nest"}, [], "nest is drained; it had no worker\n"),
    ],
)
def test_drain(
    rbee: Rbee, flags: list[str], asked: dict[str, object], answer: list[str], words: str
) -> None:
    said = {"hive_id": "nest", "workers": answer}
    with stub(whole(said), whole(said)) as server:
        told = rbee("hive", "drain", *flags, "--hive", server.url)
        raw = rbee("hive", "drain", *flags, "--hive", server.url, "--json")
    assert (told.code, told.out, told.err) == (0, words, "")
    assert json.loads(raw.out) == said
    assert server.asked[0].json() == {"operation": "hive_drain", **asked}


def test_a_drained_delete(rbee: Rbee) -> None:
    with stub(whole({"deleted": "w"})) as server:
        told = rbee("worker", "delete", "w", "--drain", "--drain-s", "2", "--hive", server.url)
    assert (told.code, told.out) == (0, "w is stopped\n")
    body = {"operation": "worker_process_delete", "worker_id": "w", "drain": True, "drain_s": 2.0}
    assert server.asked[0].json() == body


def test_a_refusal_is_one_line(rbee: Rbee) -> None:
    with stub(whole(problem("misdirected", "This hive is nest."), 421)) as server:
        told = rbee("hive", "drain", "--hive-id", "x", "--hive", server.url)
    assert (told.code, told.err) == (1, "rbee: This hive is nest.\n")


def test_get(fleet: Rbee) -> None:
    told = fleet("hive", "get")
    assert told.code == 0, told.err
    assert all(words in told.out for words in ("nest", fleet.hive, "free of"))
    assert json.loads(fleet("hive", "get", "--json").out)["id"] == "nest"


def test_draining_is_waited_for_longer() -> None:
    wait = requests.silence_of
    assert wait(operations.HiveDrain(drain_s=90.0), 30.0) == 120.0
    assert wait(operations.HiveDrain(), 30.0) == 30.0 * (1 + requests.WHOLE_SILENCES)
    assert wait(operations.HiveDrain(undo=True), 30.0) == 30.0
    drained = operations.WorkerProcessDelete(worker_id="w", drain=True, drain_s=5.0)
    assert wait(drained, 30.0) == 35.0
    assert wait(operations.WorkerProcessDelete(worker_id="w"), 30.0) == 30.0
