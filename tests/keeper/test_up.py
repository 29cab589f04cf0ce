"""The stack in the background: started once, found again, ended wholly. Real processes only."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.bee.known_answers import ANSWERS
from tests.client.stub import stream, stub, whole
from tests.http import ask, listening
from tests.keeper.command import Finished, Rbee, local
from tests.processes import started

HELLO = "Hello, who are you?"
GONE_S = 15.0


def record(rbee: Rbee) -> list[dict[str, Any]]:
    file = rbee.home / "state" / "up.json"
    found: list[dict[str, Any]] = json.loads(file.read_text())["processes"]
    return found


def family(pid: int) -> list[psutil.Process]:
    """A process and everything it started."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def gone(process: psutil.Process) -> bool:
    """Ended; what nobody reaps here stays as a zombie."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def await_gone(processes: list[psutil.Process]) -> None:
    end = time.monotonic() + GONE_S
    while not all(gone(p) for p in processes):
        assert time.monotonic() < end, [p for p in processes if not gone(p)]
        time.sleep(0.02)


def answered(told: Finished) -> None:
    assert (told.code, told.out.count("Bee")) == (0, 1), told


def test_up_infer_down(own: Rbee) -> None:
    up = own("up")
    assert up.code == 0
    assert up.err.startswith(f"rbee: up: {own.queen} and {own.hive} (pid ")
    assert own("up").err == f"rbee: already up: {own.queen} and {own.hive}\n"
    answered(own("infer", HELLO))
    [process] = record(own)
    everything = family(process["pid"])
    assert len(everything) >= 2, "the stack and its worker"
    down = own("down")
    assert down.code == 0
    assert f"(pid {process['pid']}) ended" in down.err
    await_gone(everything)
    again = own("down")
    assert (again.code, again.err) == (0, "rbee: nothing is up that rbee up started\n")


def test_infer_starts_what_is_missing_and_says_so_once(own: Rbee) -> None:
    first = own("infer", HELLO)
    answered(first)
    assert first.err.splitlines()[0].startswith("rbee: starting a queen and a hive in the back")
    second = own("infer", HELLO)
    answered(second)
    assert second.err == ""


def test_two_at_a_time_start_one_stack(own: Rbee) -> None:
    with own.running("infer", HELLO) as one, own.running("infer", HELLO) as two:
        told = [child.communicate(timeout=60) for child in (one, two)]
        assert [one.returncode, two.returncode] == [0, 0], told
    assert sum(err.count(b"starting") for _, err in told) == 1
    assert all(out.count(b"Bee") == 1 for out, _ in told)
    assert len(record(own)) == 1


def test_two_homes_do_not_disturb_each_other(own: Rbee, tmp_path: Path) -> None:
    other = local(tmp_path / "other")
    try:
        answered(own("infer", HELLO))
        answered(other("infer", HELLO))
        own("down")
        answered(other("infer", HELLO))
    finally:
        other("down")
    homes = [p.name for p in tmp_path.iterdir()]
    assert sorted(homes) == ["home", "other"]


def test_up_starts_only_the_part_that_is_missing(own: Rbee) -> None:
    hive = ["serve", "--role", "hive", "--port", own.hive.rpartition(":")[2]]
    with own.running(*hive, "--queen", own.queen) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == f"ready {own.hive}\n".encode()
        assert own("up").err.startswith(f"rbee: up: {own.queen} (pid ")
        answered(own("infer", HELLO))


def test_something_else_at_the_port(own: Rbee) -> None:
    with stub(whole(b"hello")) as server:
        told = Rbee(own.home, server.url, own.hive)("up")
    assert told.code == 1
    assert "not rbee" in told.err


def test_a_server_that_is_wedged_is_told_from_a_stranger(own: Rbee) -> None:
    with stub(stream(end=False, hold=True)) as server:
        told = Rbee(own.home, server.url, own.hive)("up")
    assert told.code == 1
    assert "said nothing" in told.err
    assert "hint: if rbee up started it, rbee down ends it" in told.err


def test_a_start_that_fails_shows_why(own: Rbee) -> None:
    (own.home / "config").mkdir(parents=True)
    (own.home / "config" / "queen.toml").write_text("beat_s = 'often'\n")
    told = own("up")
    assert told.code == 1
    assert "queen.toml: beat_s is 'often'" in told.err
    assert str(own.home / "state" / "logs" / "rbee.log") in told.err
    assert not (own.home / "state" / "up.json").exists()


def test_after_a_crash_up_starts_anew(own: Rbee) -> None:
    own("up")
    [process] = record(own)
    everything = family(process["pid"])
    os.kill(process["pid"], signal.SIGKILL)
    await_gone(everything)
    assert "nothing is up" in own("down").err
    assert own("up").code == 0
    assert record(own)[0]["pid"] != process["pid"]


def test_a_pid_that_is_somebody_elses_is_left_alone(own: Rbee) -> None:
    state = own.home / "state"
    state.mkdir(parents=True)
    me = psutil.Process()
    forged = {"pid": me.pid, "started": me.create_time(), "command": ["rbee"], "urls": []}
    (state / "up.json").write_text(json.dumps({"processes": [{**forged, "log": ""}]}))
    told = own("down")
    assert (told.code, told.err) == (0, "rbee: nothing is up that rbee up started\n")


@pytest.mark.slow
def test_a_deaf_stack_is_killed_with_its_workers(own: Rbee) -> None:
    answered(own("infer", HELLO))
    [process] = record(own)
    everything = family(process["pid"])
    for member in everything:
        member.suspend()
    told = own("down", "--now")
    assert (told.code, "killed" in told.err) == (0, True)
    await_gone(everything)


LONG = {"ignore_eos": True, "max_tokens": 1_000}


@contextmanager
def answering(own: Rbee, **fields: Any) -> Iterator[Iterator[Any]]:
    """An answer that has begun."""
    body = {"operation": "infer", "model": "bee", "prompt": "The bees", **fields}
    with listening("POST", f"{own.queen}/v1/jobs", body) as (_, events):
        assert any(event["type"] == "token" for _, event in events)
        yield events


def test_down_waits_for_what_runs_and_says_so(own: Rbee) -> None:
    (own.home / "config").mkdir(parents=True)
    for part in ("queen", "hive"):  # on a busy machine bee says thirty tokens a second
        (own.home / "config" / f"{part}.toml").write_text("drain_s = 90.0\n")
    own("up")
    with answering(own, **{**LONG, "max_tokens": 1_500}) as events, own.running("down") as child:
        *_, (_, last) = events
        assert last["type"] == "done", last
        _, err = child.communicate(timeout=30)
    lines = err.decode().splitlines()
    assert child.returncode == 0 and lines[-1].endswith("ended"), lines
    assert "waiting for 1 answer to finish" in lines[0] and "rbee down --now" in lines[0], lines


def test_down_now_does_not_wait_even_for_a_down_that_does(own: Rbee) -> None:
    own("up")
    with answering(own, **LONG) as events, own.running("down") as child:
        end = time.monotonic() + GONE_S
        while ask("GET", f"{own.queen}/ready").status != 503:
            assert time.monotonic() < end
            time.sleep(0.02)
        began = time.monotonic()
        own("down", "--now")
        assert time.monotonic() - began < 5
        *_, (_, last) = events
        assert last["type"] == "failed"
        child.communicate(timeout=10)
    assert child.returncode == 0


def test_an_interrupted_start_leaves_nothing(own: Rbee) -> None:
    with own.running("up") as child:
        end = time.monotonic() + GONE_S
        while not psutil.Process(child.pid).children():
            assert time.monotonic() < end
            time.sleep(0.005)
        started = psutil.Process(child.pid).children()
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130
    await_gone(started)
    assert not (own.home / "state" / "up.json").exists()


NO_PID = '{"processes":[{"pid":-5,"started":1.0,"command":["rbee"],"urls":[],"log":""}]}'


@pytest.mark.parametrize("text", ["", "{", '{"processes": [{}]}', NO_PID])
def test_a_broken_record_is_no_record(own: Rbee, text: str) -> None:
    (own.home / "state").mkdir(parents=True)
    (own.home / "state" / "up.json").write_text(text)
    assert own("down").code == 0


def test_infer_starts_the_hive_that_a_lone_queen_lacks(own: Rbee) -> None:
    queen = ("serve", "--role", "queen", "--port", own.queen.rpartition(":")[2])
    with started(own.command(*queen), own.env):
        done = own("infer", "Hello")
        assert done.out.strip() == ANSWERS["Hello"], done.err
        assert "starting a hive in the background" in done.err
