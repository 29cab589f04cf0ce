"""The hive as a real process: its answers, its jobs, its heartbeats, its workers' lives."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from rbee import bee
from tests.hive.ear import ear
from tests.hive.served import (
    ASYNC,
    SPAWN,
    STREAM,
    children_of,
    stub_hive,
    submit,
    wait_for_state,
    workers,
)
from tests.http import ask, listening
from tests.processes import Started, role


@pytest.fixture(scope="module")
def quiet() -> Iterator[Started]:
    """One hive for all the questions that leave nothing behind."""
    with stub_hive() as made:
        yield made


def test_models_are_listed_and_got_by_either_name(quiet: Started) -> None:
    listed = submit(quiet, {"operation": "model_list", "hive_id": "localhost"}).json()
    assert listed["hive_id"] == "desk"
    (entry,) = listed["models"]
    assert (entry["id"], entry["sha256"], entry["embedded"]) == ("bee", bee.SHA256, True)
    for field in ("model", "id"):
        assert submit(quiet, {"operation": "model_get", field: "bee"}).json() == entry


def test_what_every_server_has(quiet: Started) -> None:
    assert ask("GET", f"{quiet.url}/health").json()["role"] == "hive"
    assert ask("GET", f"{quiet.url}/ready").status == 200
    text = ask("GET", f"{quiet.url}/metrics").body.decode()
    assert 'rbee_hive_workers{state="ready"} 0.0' in text
    assert "rbee_hive_models 1.0" in text
    document = ask("GET", f"{quiet.url}/v1/openapi.json").json()
    assert "/v1/status" in document["paths"]
    status = ask("GET", f"{quiet.url}/v1/status").json()
    assert (status["id"], status["state"], status["url"]) == ("desk", "ready", quiet.url)
    assert status["devices"][-1]["id"] == "cpu"
    assert status["memory_total"] > status["memory_free"] > 0


def test_any_operation_may_run_by_itself(quiet: Started) -> None:
    for body in ({"operation": "model_list"}, {"operation": "worker_process_list"}):
        accepted = submit(quiet, body, ASYNC)
        assert accepted.status == 202
        events = ask("GET", quiet.url + accepted.json()["sse_url"]).events
        assert events[-1]["type"] == "done"
        assert events[-1]["result"]["hive_id"] == "desk"
        job = ask("GET", f"{quiet.url}/v1/jobs/{accepted.json()['job_id']}").json()
        assert (job["state"], job["operation"]) == ("done", body["operation"])


def test_a_spawn_reports_its_progress_and_can_be_read_again() -> None:
    with stub_hive("--steps 4 --load 0.1") as made:
        with listening("POST", f"{made.url}/v1/jobs", SPAWN, STREAM) as (headers, frames):
            events = [event for _, event in frames]
        loads = [(e["done"], e["total"], e["unit"]) for e in events[:-1] if e["what"] == "load"]
        assert loads == [(n, 100, "percent") for n in (25, 50, 75, 100)]
        spawned = events[-1]["result"]
        assert spawned["worker_id"].startswith("bee-")
        job = f"{made.url}/v1/jobs/{headers['x-rbee-job-id']}/stream"
        assert ask("GET", f"{job}?from=3").events == events[3:]
        got = submit(made, {"operation": "worker_process_get", "pid": spawned["pid"]}).json()
        assert (got["worker_id"], got["state"]) == (spawned["worker_id"], "ready")
        assert "progress 25 100" in got["log_tail"]
        loaded = submit(made, {"operation": "model_get", "model": "bee"}).json()["loaded_by"]
        assert loaded == [spawned["worker_id"]]
        gone = submit(
            made, {"operation": "worker_process_delete", "worker_id": spawned["worker_id"]}
        )
        assert gone.json() == {"deleted": spawned["worker_id"]}
        assert workers(made) == []


def test_a_worker_that_fails_is_told_and_kept() -> None:
    with stub_hive("--die 3 --say no_memory_left") as made:
        error = submit(made, SPAWN).json()["error"]
        assert error["code"] == "spawn_failed"
        assert "exit code 3" in error["message"]
        assert "no_memory_left" in error["message"]
        streamed = submit(made, SPAWN, STREAM).events
        assert (streamed[-1]["type"], streamed[-1]["code"]) == ("failed", "spawn_failed")
        assert [w["state"] for w in workers(made)] == ["failed", "failed"]
        assert all("exit code 3" in w["reason"] for w in workers(made))


@pytest.mark.parametrize("headers", [STREAM, {}])
def test_a_client_who_leaves_stops_the_loading_worker(headers: dict[str, str]) -> None:
    with stub_hive("--load 60") as made:
        with socket.create_connection(("127.0.0.1", made.port)) as client:
            body = b'{"operation": "worker_spawn", "model": "bee"}'
            extra = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
            head = f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\n{extra}"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            children_of(made, lambda found: len(found) == 1)
        children_of(made, lambda found: not found)
        assert workers(made) == []


def test_a_spawn_that_is_cancelled_stops_its_worker() -> None:
    with stub_hive("--load 60") as made:
        job = submit(made, SPAWN, ASYNC).json()["job_id"]
        children_of(made, lambda found: len(found) == 1)
        view = ask("DELETE", f"{made.url}/v1/jobs/{job}").json()
        assert (view["state"], view["error"]["code"]) == ("cancelled", "cancelled")
        assert psutil.Process(made.pid).children() == []
        assert workers(made) == []


def test_stopping_ends_deaf_workers_and_open_spawns() -> None:
    with stub_hive("--load 60 --deaf", stop_grace_s=0.2) as made:
        submit(made, SPAWN, ASYNC)
        children_of(made, lambda found: len(found) == 1)
        (child,) = psutil.Process(made.pid).children()
        assert made.stop() == 0
        assert not child.is_running()


def test_changes_are_heard_at_once_and_the_end_too() -> None:
    with ear() as queen, stub_hive("--load 0.2", queen=queen.url) as made:
        first = queen.until(lambda beat: True)
        assert (first["from"], first["id"], first["url"]) == ("hive", "desk", made.url)
        assert [m["id"] for m in first["models"]] == ["bee"]
        spawned = submit(made, SPAWN).json()
        for state in ("starting", "ready"):
            beat = queen.until(lambda beat, s=state: s in _states(beat))  # type: ignore[misc]
            assert beat["workers"][0]["worker_id"] == spawned["worker_id"]
        psutil.Process(spawned["pid"]).kill()
        queen.until(lambda beat: "backoff" in _states(beat))
        made.stop()
        queen.until(lambda beat: beat["state"] == "stopped" and not _states(beat))
        numbers = [beat["seq"] for beat in queen.beats]
        assert numbers == sorted(set(numbers))
        assert len({beat["incarnation"] for beat in queen.beats}) == 1


def _states(beat: dict[str, Any]) -> list[str]:
    return [worker["state"] for worker in beat["workers"]]


def test_a_queen_that_comes_later_is_found() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with stub_hive(queen=f"http://127.0.0.1:{port}"), ear(port) as queen:
        queen.until(lambda beat: beat["id"] == "desk")


def test_every_queen_that_is_named_hears_of_the_hive() -> None:
    with ear() as one, ear() as two, stub_hive(queen=f"{one.url}, {two.url}"):
        lives = {
            queen.until(lambda beat: beat["id"] == "desk")["incarnation"] for queen in (one, two)
        }
        assert len(lives) == 1


def test_a_model_put_into_the_folder_is_heard_of(tmp_path: Path) -> None:
    with ear() as queen, stub_hive(queen=queen.url, models_dir=str(tmp_path)) as made:
        queen.until(lambda beat: True)
        (tmp_path / "mine.gguf").write_bytes(bee.path().read_bytes())
        submit(made, {"operation": "model_list"})
        beat = queen.until(lambda beat: len(beat["models"]) == 2)
        assert beat["models"][1]["id"] == "mine.gguf"
        queen.until(lambda beat: beat["models"][-1]["sha256"] == bee.SHA256)


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Started]:
    settings = {"queen": "", "models_dir": str(tmp_path), "backoff_first_s": 0.05}
    with role("hive", settings) as made:
        yield made


def test_a_real_worker_that_is_killed_comes_back_under_its_name(real: Started) -> None:
    spawned = submit(real, SPAWN).json()
    assert ask("GET", f"{spawned['url']}/health").json()["role"] == "worker"
    psutil.Process(spawned["pid"]).kill()
    children_of(real, lambda found: [c.pid for c in found] not in ([], [spawned["pid"]]))
    wait_for_state(real, "ready")
    (worker,) = workers(real)
    assert (worker["worker_id"], worker["restarts"]) == (spawned["worker_id"], 1)
    assert ask("GET", f"{worker['url']}/health").json()["id"] == spawned["worker_id"]


def test_a_model_that_only_llama_cpp_refuses_harms_nobody_else(
    real: Started, tmp_path: Path
) -> None:
    submit(real, SPAWN)
    data = bee.path().read_bytes()
    (tmp_path / "odd.gguf").write_bytes(data.replace(b"llama", b"lxama"))
    (tmp_path / "cut.gguf").write_bytes(data[: len(data) // 2])
    (tmp_path / "zip.gguf").write_bytes(b"PK\x03\x04" + data)
    for name, said in (("cut", "truncated"), ("zip", "begins with")):
        answer = submit(real, {**SPAWN, "model": f"{name}.gguf"})
        assert (answer.status, answer.json()["error"]["code"]) == (400, "bad_model_file")
        assert said in answer.json()["error"]["message"]
    assert len(workers(real)) == 1
    answer = submit(real, {**SPAWN, "model": "odd.gguf"})
    assert answer.status in (400, 503), answer.body
    assert "lxama" in answer.body.decode()
    assert [w["state"] for w in workers(real)] == ["ready", "failed"]
