"""The worker as a process: clients that leave, signals, files that are no models."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rbee import bee
from tests.bee import known_answers as known
from tests.http import ask, listening
from tests.processes import IDLE_S, Started, started
from tests.worker.bees import (
    COMMAND,
    endless,
    failing,
    flags,
    infer,
    request,
    serving,
    status,
    until,
)

GIVEN_UP_STEPS = 500
"""Far fewer than the 2,000 steps of an endless answer."""


def idle(worker: Started) -> None:
    until(lambda: status(worker.url)["busy"] == 0 == status(worker.url)["waiting"])
    now = status(worker.url)
    assert now["jobs"] == [] and now["step"] == status(worker.url)["step"]


def test_a_stream_whose_reader_leaves_frees_its_slot(bee_worker: Started) -> None:
    with listening("POST", f"{bee_worker.url}/v1/infer", endless(bee_worker.url)) as (_, events):
        for _ in range(3):
            next(events)
        seen = status(bee_worker.url)
        assert seen["busy"] == 1 and len(seen["jobs"]) == 1
    idle(bee_worker)
    assert status(bee_worker.url)["step"] - seen["step"] < GIVEN_UP_STEPS


def test_a_whole_answer_nobody_waits_for_frees_its_slot(bee_worker: Started) -> None:
    body = json.dumps(endless(bee_worker.url, stream=False)).encode()
    with socket.create_connection(("127.0.0.1", bee_worker.port), timeout=10) as connection:
        head = (
            f"POST /v1/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: application/json\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        until(lambda: status(bee_worker.url)["busy"] == 1)
        seen = status(bee_worker.url)
    idle(bee_worker)
    assert status(bee_worker.url)["step"] - seen["step"] < GIVEN_UP_STEPS


def test_one_that_leaves_while_it_waits_takes_no_slot(bee_worker: Started) -> None:
    url = f"{bee_worker.url}/v1/infer"
    with listening("POST", url, endless(bee_worker.url, n=4)) as (_, running):
        next(running)
        until(lambda: status(bee_worker.url)["busy"] == 4)
        with listening("POST", url, endless(bee_worker.url)) as (_, waiting):
            assert next(waiting)[1]["type"] == "queued"
            until(lambda: status(bee_worker.url)["waiting"] == 1)
        until(lambda: status(bee_worker.url)["waiting"] == 0)
        assert status(bee_worker.url)["busy"] == 4
    idle(bee_worker)


def test_a_deadline_is_kept(bee_worker: Started) -> None:
    body = endless(bee_worker.url, deadline_ms=300)
    began = time.monotonic()
    with listening("POST", f"{bee_worker.url}/v1/infer", body) as (_, events):
        *_, (_, last) = events
    assert last["type"] == "failed" and last["code"] == "deadline_exceeded"
    assert time.monotonic() - began < 3
    late = ask("POST", f"{bee_worker.url}/v1/infer", body | {"stream": False})
    assert late.status == 504
    idle(bee_worker)


@contextmanager
def answering(worker: Started) -> Iterator[Iterator[Any]]:
    """An endless answer that has begun."""
    with listening("POST", f"{worker.url}/v1/infer", endless(worker.url)) as (_, events):
        next(events)
        yield events


def test_a_signal_lets_answers_finish_and_takes_no_more() -> None:
    with serving(slots=2) as worker:
        body = request("Tell me a story.", max_tokens=300, ignore_eos=True)
        with listening("POST", f"{worker.url}/v1/infer", body) as (_, events):
            next(events)
            worker.child.send_signal(signal.SIGTERM)
            until(lambda: status(worker.url)["state"] == "draining")
            refused = ask("POST", f"{worker.url}/v1/infer", request("Hello"))
            assert (refused.status, refused.json()["error"]["code"]) == (503, "draining")
            assert ask("GET", f"{worker.url}/ready").status == 503
            assert ask("GET", f"{worker.url}/health").status == 200
            *_, (_, last) = events
        assert last["type"] == "done" and last["usage"]["completion_tokens"] == 300
        assert worker.child.wait(5) == 0
        assert "Traceback" not in worker.stderr()


def test_what_is_not_finished_in_time_is_given_up() -> None:
    with serving(slots=1, drain_s=0.3) as worker, answering(worker) as events:
        began = time.monotonic()
        worker.child.send_signal(signal.SIGTERM)
        *_, (_, last) = events
        assert last["type"] == "failed" and last["code"] == "worker_gone"
        assert worker.child.wait(5) == 0
        assert time.monotonic() - began < 3


def test_a_second_signal_does_not_wait() -> None:
    with serving(slots=1) as worker, answering(worker) as events:
        worker.child.send_signal(signal.SIGTERM)
        until(lambda: status(worker.url)["state"] == "draining")
        began = time.monotonic()
        worker.child.send_signal(signal.SIGTERM)
        *_, (_, last) = events
        assert last["type"] == "failed" and last["code"] == "worker_gone"
        assert worker.child.wait(5) == 0
        assert time.monotonic() - began < 2
        assert "Traceback" not in worker.stderr()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_worker_at_once(number: signal.Signals) -> None:
    with serving() as worker:
        infer(worker.url, "Hello")
        began = time.monotonic()
        worker.child.send_signal(number)
        assert worker.child.wait(3) == 0
        assert time.monotonic() - began < IDLE_S
        assert "Traceback" not in worker.stderr()


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The problem in the `failed` line, which is the last one."""
    assert done.returncode != 0 and "Traceback" not in done.stderr
    *_, last = done.stdout.splitlines()
    assert last.startswith("failed "), done
    problem: dict[str, Any] = json.loads(last.removeprefix("failed "))
    assert problem["message"].endswith((".", "?"))
    return problem


def broken(folder: Path, name: str) -> Path:
    """A file that is not the model it looks like."""
    whole = bee.path().read_bytes()
    content = {
        "half.gguf": whole[: len(whole) // 2],
        "head.gguf": whole[:10_000],
        "empty.gguf": b"",
        "text.gguf": b"This is a story about bees.\n" * 1_000,
        "magic.gguf": b"GGUF",
        "noise.gguf": b"GGUF\3\0\0\0" + bytes(range(256)) * 100,
        "alien.gguf": whole.replace(b"llama", b"lxama"),
    }
    made = folder / name
    made.write_bytes(content[name])
    return made


@pytest.mark.parametrize(
    "name",
    ["half.gguf", "head.gguf", "empty.gguf", "text.gguf", "magic.gguf", "noise.gguf", "alien.gguf"],
)
def test_a_file_that_is_no_model_is_told_and_the_worker_ends(tmp_path: Path, name: str) -> None:
    done = failing("--model", str(broken(tmp_path, name)), "--port", "0")
    assert done.returncode == 1
    assert told(done)["code"] == "bad_model_file"


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("/nowhere/at/all.gguf", "bad_request"),
        ("org/missing.gguf", "model_not_found"),
        ("missing.gguf", "model_not_found"),
        ("/", "bad_request"),
        ("/etc/passwd", "bad_model_file"),
        ("../../etc/passwd.gguf", "bad_request"),
        ("x" * 10_000, "bad_request"),
        ("/" + "x" * 5_000, "bad_request"),
        ("\x1b[31mred\n", "bad_request"),
    ],
)
def test_a_name_that_means_no_file_is_told(model: str, code: str) -> None:
    done = failing("--model", model, "--port", "0")
    assert done.returncode == 1 and told(done)["code"] == code
    assert len(done.stdout) < 2_000 and "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--bind", "0.0.0.0"], "--insecure"),
        (["--device", "potato"], "potato"),
        (["--device", "cuda:x"], "cuda:x"),
        (["--model", ""], "--model"),
        (["--lora", "style.gguf"], "NAME=FILE"),
        (["--projector", "/nowhere.gguf"], "--projector"),
        (["--kv-tokens", "100"], "less than one context"),
    ],
)
def test_settings_that_make_no_sense_are_told(given: list[str], words: str) -> None:
    done = failing("--model", "bee", "--port", "0", *given)
    problem = told(done)
    assert problem["code"] == "usage" and words in problem["message"] + problem["hint"]


@pytest.mark.parametrize(
    "given",
    [
        ["--slots", "65"],
        ["--slots", "0"],
        ["--context", "-1"],
        ["--threads", "9999"],
        ["--speculate-tokens", "33"],
    ],
)
def test_numbers_out_of_range_are_wrong_usage(given: list[str]) -> None:
    done = failing("--model", "bee", "--port", "0", *given)
    assert done.returncode == 2 and given[0].removeprefix("--") in done.stderr


def test_a_port_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        problem = told(failing("--model", "bee", "--port", str(port)))
        assert problem["code"] == "port_in_use" and str(port) in problem["message"]


def test_the_next_free_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with started([*COMMAND, *flags(model="bee", port_from=port, threads=1)]) as worker:
            assert worker.port > port
            assert infer(worker.url, "Hello")["choices"][0]["text"] == known.GREETING
