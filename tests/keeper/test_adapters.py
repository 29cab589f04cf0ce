"""Adapters and projectors on the command line: what is asked for, and what comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbee import bee
from tests.client.stub import done, stream, stub, token
from tests.keeper.command import Rbee, local
from tests.worker import random_lora

SPAWNED = {
    "worker_id": "bee-1a2b",
    "pid": 7,
    "port": 8080,
    "url": "http://127.0.0.1:8080",
    "model": "bee",
    "device": "cpu",
}


@pytest.fixture
def rbee(tmp_path: Path) -> Rbee:
    return local(tmp_path)


def test_a_spawn_names_its_adapters_and_its_projector(rbee: Rbee) -> None:
    flags = ["--lora", "style=o/r/s.gguf", "--lora", "law=law.gguf", "--projector", "o/r"]
    with stub(stream({**done(), "result": SPAWNED})) as server:
        told = rbee("worker", "spawn", "bee", *flags, "--hive", server.url)
    assert told.code == 0, told.err
    assert server.asked[0].json() == {
        "operation": "worker_spawn",
        "model": "bee",
        "lora": {"style": "o/r/s.gguf", "law": "law.gguf"},
        "projector": "o/r",
    }


def test_a_request_names_one_adapter(rbee: Rbee) -> None:
    with stub(stream(token("x"), done())) as server:
        assert rbee("infer", "Hi", "--lora", "style", "--queen", server.url).code == 0
    assert server.asked[0].json()["lora"] == "style"


def test_an_adapter_from_spawn_to_answer(fleet: Rbee) -> None:
    """Through a real queen, hive and worker."""
    models = fleet.home / "models"
    random_lora.write(models / "wild.gguf", bee.path())
    listed = fleet("model", "list")
    assert "wild.gguf" in listed.out and "LoRA adapter" in listed.out
    spawned = fleet("worker", "spawn", "bee", "--lora", "wild=wild.gguf")
    assert spawned.code == 0, spawned.err
    worker_id = spawned.out.split()[0]
    ask = ["infer", "Hello, who are you?", "--max-tokens", "9", "--temperature", "0"]
    plain, wild = (fleet(*ask, *more) for more in ([], ["--lora", "wild"]))
    assert (plain.code, wild.code) == (0, 0), wild.err
    assert "Bee" in plain.out and plain.out != wild.out
    refused = fleet("infer", "Hi", "-m", "wild.gguf")
    assert (refused.code, "is a LoRA adapter" in refused.err) == (1, True), refused.err
    unknown = fleet(*ask, "--lora", "law")
    assert unknown.code == 1
    assert f"Known: wild (on {worker_id})" in unknown.err
    assert "bee +wild" in fleet("worker", "list").out
    in_use = fleet("model", "delete", "wild.gguf")
    assert (in_use.code, worker_id in in_use.err) == (1, True)
    assert fleet("worker", "delete", worker_id).code == 0
    assert fleet("model", "delete", "wild.gguf").code == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["worker", "spawn", "bee", "--lora", "style.gguf"], "is not NAME=REF"),
        (["worker", "spawn", "bee", "--lora", "a="], "is not NAME=REF"),
        (["worker", "spawn", "bee", "--lora", "a=x", "--lora", "a=y"], "two adapters 'a'"),
        (["worker", "spawn", "bee", "--lora", "a b=x"], "rbee: lora: "),
        (["infer", "Hi", "--lora", "a b"], "rbee: lora: "),
    ],
)
def test_names_that_are_none(rbee: Rbee, flags: list[str], said: str) -> None:
    told = rbee(*flags)
    assert told.code == 2
    assert said in told.err
