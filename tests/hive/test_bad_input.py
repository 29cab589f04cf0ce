"""Everything wrong that can be asked of a hive is one clear error, and changes nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hive.served import SPAWN, stub_hive, submit, workers
from tests.http import ask
from tests.processes import ROOT, Started


@pytest.fixture(scope="module")
def quiet() -> Iterator[Started]:
    """One hive for all the questions that leave nothing behind."""
    with stub_hive() as made:
        yield made


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (b"{", 400, "invalid_json", None),
        (b"\xff\xfe", 400, "invalid_json", None),
        ([1], 422, "invalid_field", None),
        ({"operation": "make_tea"}, 422, "invalid_field", "operation"),
        ({}, 422, "invalid_field", "operation"),
        ({"operation": "worker_spawn"}, 422, "invalid_field", "model"),
        ({**SPAWN, "colour": "red"}, 422, "invalid_field", "colour"),
        ({**SPAWN, "slots": 65}, 422, "invalid_field", "slots"),
        ({**SPAWN, "slots": "4"}, 422, "invalid_field", "slots"),
        ({**SPAWN, "context": 63}, 422, "invalid_field", "context"),
        ({**SPAWN, "gpu_layers": -2}, 422, "invalid_field", "gpu_layers"),
        ({**SPAWN, "worker": "tpu"}, 422, "invalid_field", "worker"),
        ({**SPAWN, "worker": "metal"}, 422, "invalid_field", "worker"),
        ({**SPAWN, "device": "cuda:99"}, 422, "invalid_field", "device"),
        ({**SPAWN, "model": "x" * 10_000}, 422, "invalid_field", "model"),
        ({**SPAWN, "model": ""}, 422, "invalid_field", "model"),
        ({**SPAWN, "model": "nope"}, 404, "model_not_found", "model"),
        ({**SPAWN, "model": "../../etc/passwd"}, 400, "bad_request", "model"),
        ({**SPAWN, "model": "/etc/passwd"}, 400, "bad_request", "model"),
        ({**SPAWN, "model": "a\0b.gguf"}, 400, "bad_request", "model"),
        ({**SPAWN, "model": "..\\b.gguf"}, 400, "bad_request", "model"),
        ({**SPAWN, "hive_id": "elsewhere"}, 421, "misdirected", "hive_id"),
        ({**SPAWN, "hive_id": "no id"}, 422, "invalid_field", "hive_id"),
        ({"operation": "infer", "model": "bee", "prompt": "x"}, 421, "misdirected", None),
        ({"operation": "status"}, 421, "misdirected", None),
        ({"operation": "model_get"}, 400, "bad_request", "model"),
        ({"operation": "model_get", "model": "bee", "id": "a"}, 400, "bad_request", "model"),
        ({"operation": "model_delete", "model": "bee"}, 409, "model_protected", None),
        ({"operation": "model_download", "model": "/etc/passwd"}, 400, "bad_request", "model"),
        ({"operation": "worker_process_get"}, 400, "bad_request", "worker_id"),
        ({"operation": "worker_process_get", "worker_id": "x"}, 404, "worker_not_found", None),
        ({"operation": "worker_process_delete", "pid": 1}, 404, "worker_not_found", "pid"),
        ({"operation": "worker_process_delete", "pid": "1"}, 422, "invalid_field", "pid"),
    ],
)
def test_bad_input_is_named(
    quiet: Started, body: Any, status: int, code: str, param: str | None
) -> None:
    answer = submit(quiet, body)
    error = answer.json()["error"]
    assert (answer.status, error["code"]) == (status, code), error
    if param is not None:
        assert error["param"] == param
    assert error["message"].endswith(".")
    assert workers(quiet) == []


def test_who_is_asked_wrongly_says_who_it_is(quiet: Started) -> None:
    error = submit(quiet, {**SPAWN, "hive_id": "elsewhere"}).json()["error"]
    assert f"This is hive desk at {quiet.url}, not elsewhere." in error["message"]


def test_a_body_that_is_too_large(quiet: Started) -> None:
    answer = submit(quiet, b" " * 10_000_000)
    assert (answer.status, answer.json()["error"]["code"]) == (413, "too_large")


def test_a_name_this_hive_does_not_have(quiet: Started) -> None:
    answer = ask("GET", f"{quiet.url}/v1/status", headers={"Host": "evil.example"})
    assert answer.status == 403


def test_a_port_in_use_is_one_clear_line(quiet: Started) -> None:
    command = [sys.executable, "-m", "tests.roles", "hive", "--port", str(quiet.port)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=20, check=False)
    assert done.returncode == 1
    assert f"Port {quiet.port} on 127.0.0.1 is in use." in done.stderr.decode()


def test_a_models_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "tests.roles", "hive", "--port", "0"]
    command += ["--models_dir", str(tmp_path / "file" / "models")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "cannot be made: Not a directory" in done.stderr.decode()


def test_an_open_bind_is_refused() -> None:
    command = [sys.executable, "-m", "tests.roles", "hive", "--port", "0", "--bind", "0.0.0.0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "Binding 0.0.0.0 would open rbee" in done.stderr.decode()
