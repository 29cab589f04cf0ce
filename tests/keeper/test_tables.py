"""Tables: what is told short in a list, and which columns there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from rbee.contracts.fleet import ModelEntry, WorkerBeat, WorkerProcess, WorkerStatus
from rbee.keeper import background
from rbee.keeper.doctor import FULL_DISK_BYTES, LOW_DISK_BYTES, room
from rbee.keeper.tables import SHORT, models, processes, short, state_of

LONG = "the file is broken: " + "x" * 500


def shown(what: RenderableType) -> str:
    console = Console(width=2_000)
    with console.capture() as captured:
        console.print(what)
    return captured.get()


def test_a_long_reason_is_cut_in_a_list_and_whole_for_one() -> None:
    failed = WorkerProcess(worker_id="w", model="bee", state="failed", rss_bytes=5, reason=LONG)
    listed = shown(processes([failed]))
    assert short(LONG) in listed and LONG not in listed
    assert "5 B" not in listed and "0 s" not in listed
    assert LONG in shown(processes([failed], whole=True))


def test_a_worker_that_runs_has_its_memory_and_age() -> None:
    ready = WorkerProcess(worker_id="w", model="bee", state="ready", rss_bytes=5, uptime_s=7)
    assert "5 B" in shown(processes([ready]))
    assert "7 s" in shown(processes([ready]))


def test_a_workers_adapters_stand_beside_its_model() -> None:
    ready = WorkerProcess(worker_id="w", model="bee", state="ready", lora=["style", "law"])
    assert "bee +style +law" in shown(processes([ready]))


def worker(**more: Any) -> WorkerStatus:
    alive = more.pop("alive", True)
    known = {"id": "w", "incarnation": "i", "seq": 1, "url": "http://x", "hive_id": "h"}
    runs = {"model": "bee", "sha256": "", "device": "cpu", "state": "ready", "slots": 2}
    load = {"busy": 1, "waiting": 0, "context": 64, "step": 9, "step_age_s": 0.0}
    beat = WorkerBeat(**{**known, **runs, **load, **more})
    return WorkerStatus(worker=beat, age_s=1.0, alive=alive, leased=0)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (worker(), "ready"),
        (worker(state="draining"), "draining"),
        (worker(alive=False), "gone"),
        (worker(step_age_s=3.0, step_limit_s=4.0), "ready"),
        (worker(step_age_s=7.0, step_limit_s=4.0), "wedged for 7 s"),
        (worker(step_age_s=7.0), "ready"),
    ],
)
def test_a_workers_state_is_what_it_gets_done(status: WorkerStatus, words: str) -> None:
    assert str(state_of(status)) == words


@pytest.mark.parametrize("text", ["", "a\nb", "y" * SHORT, LONG])
def test_short_is_one_short_line(text: str) -> None:
    assert len(short(text)) <= SHORT
    assert "\n" not in short(text)
    assert short(text).endswith("…") == (len(text) > SHORT)


def test_why_not_is_a_column_only_when_something_cannot_be_used() -> None:
    good = ModelEntry(id="a.gguf", file="a.gguf", size=1)
    bad = ModelEntry(id="b.gguf", file="b.gguf", size=1, problem=LONG)
    assert "WHY NOT" not in shown(models([good]))
    listed = shown(models([good, bad]))
    assert "WHY NOT" in listed and short(LONG) in listed


@pytest.mark.parametrize(
    ("name", "free", "state"),
    [
        ("state", FULL_DISK_BYTES - 1, "bad"),
        ("models", FULL_DISK_BYTES - 1, "bad"),
        ("state", FULL_DISK_BYTES, "ok"),
        ("models", LOW_DISK_BYTES - 1, "note"),
        ("models", LOW_DISK_BYTES, "ok"),
    ],
)
def test_a_disk_that_fills_is_told(name: str, free: int, state: str) -> None:
    assert room(name, Path("/somewhere"), free).state == state


def test_a_full_disk_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RBEE_HOME", str(tmp_path))
    with pytest.raises(OSError, match="full") as told, background.locked():
        raise OSError(background.FULL[0], "full")
    assert told.value.filename == str(tmp_path / "state")
