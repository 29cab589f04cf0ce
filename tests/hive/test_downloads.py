"""Downloads through the real `huggingface_hub` against a local hub that breaks on demand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.hive.shop import BEE, DIGEST, NAME, STREAM, download, hive, message, partials
from tests.http import ask, listening
from tests.hub import Hub, hub


@pytest.fixture
def shop() -> Iterator[Hub]:
    with hub() as made:
        made.repos["org/repo"] = {
            "README.md": b"# tiny",
            "tiny-Q8_0.gguf": BEE,
            "tiny-F16.gguf": b"GGUF" + bytes(100),
            "mmproj-F16.gguf": b"GGUF",
        }
        yield made


def wait_until_arrived(home: Path, size: int) -> None:
    """The stalled hub has sent `size` bytes; they are on the disk a moment later."""
    ends = time.monotonic() + 20
    while sum(p.stat().st_size for p in partials(home)) < size:
        assert time.monotonic() < ends, "the partial file did not grow"
        time.sleep(0.02)


def test_a_quantisation_is_fetched_with_progress_and_found_again(tmp_path: Path, shop: Hub) -> None:
    body = {"operation": "model_download", "model": "org/repo:q8_0"}
    with hive(tmp_path, shop.env()) as made:
        with listening("POST", f"{made.url}/v1/jobs", body, STREAM) as (_, frames):
            events: list[Any] = [event for _, event in frames]
        *progress, done = events
        assert done["type"] == "done", done
        entry = done["result"]
        assert (entry["id"], entry["sha256"], entry["size"]) == (NAME, DIGEST, len(BEE))
        assert Path(entry["file"]).read_bytes() == BEE
        fetched = [e for e in progress if e["what"] == "download"]
        assert fetched[-1]["done"] == fetched[-1]["total"] == len(BEE)
        asked = len(shop.requests)
        for name in ("org/repo:Q8_0", "org/repo", NAME):
            assert download(made, name).json()["id"] == NAME
        assert len(shop.requests) == asked
    assert partials(tmp_path) == []
    assert shop.tokens_leaked == 0
    assert shop.requests[0].token == "Bearer hf_secret"


def test_a_transfer_that_breaks_goes_on_where_it_broke(tmp_path: Path, shop: Hub) -> None:
    shop.cuts = [1_000_000, 500_000]
    with hive(tmp_path, shop.env()) as made:
        assert download(made, NAME).json()["sha256"] == DIGEST
    assert shop.starts == [0, 1_000_000, 1_500_000]


def test_a_hub_that_ignores_ranges_is_understood(tmp_path: Path, shop: Hub) -> None:
    shop.cuts, shop.ignores_ranges = [1_000_000], True
    with hive(tmp_path, shop.env()) as made:
        assert download(made, NAME).json()["sha256"] == DIGEST


def test_a_killed_hive_leaves_no_process_and_resumes(tmp_path: Path, shop: Hub) -> None:
    shop.stall_after = 2_000_000
    with hive(tmp_path, shop.env()) as made:
        url = f"{made.url}/v1/jobs"
        body = {"operation": "model_download", "model": NAME}
        assert ask("POST", url, body, {"Prefer": "respond-async"}).status == 202
        assert shop.stalled.wait(20)
        wait_until_arrived(tmp_path, 2_000_000)
        children = psutil.Process(made.pid).children()
        assert len(children) == 1
        made.kill()
        gone, alive = psutil.wait_procs(children, timeout=10)
        assert (len(gone), alive) == (1, [])
    shop.stall_after = None
    with hive(tmp_path, shop.env()) as made:
        assert download(made, NAME).json()["sha256"] == DIGEST
    assert shop.starts == [0, 2_000_000]


def test_a_client_who_leaves_ends_the_download_and_the_partial_file_stays(
    tmp_path: Path, shop: Hub
) -> None:
    shop.stall_after = 1_000_000
    body = {"operation": "model_download", "model": NAME}
    with hive(tmp_path, shop.env()) as made:
        with listening("POST", f"{made.url}/v1/jobs", body, STREAM) as (_, frames):
            assert next(frames)[1]["type"] == "progress"
            wait_until_arrived(tmp_path, 1_000_000)
            children = psutil.Process(made.pid).children()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert alive == []
        assert [p.stat().st_size for p in partials(tmp_path)] == [1_000_000]
        shop.stall_after = None
        assert download(made, NAME).json()["sha256"] == DIGEST
    assert shop.starts[-1] == 1_000_000


@pytest.mark.parametrize("names", [(NAME, NAME), (NAME, "org/repo:Q8_0")])
def test_two_askers_share_one_transfer(tmp_path: Path, shop: Hub, names: tuple[str, str]) -> None:
    shop.cuts = [2_000_000]
    shop.stall_after = 500_000
    with hive(tmp_path, shop.env()) as made, ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(download, made, name) for name in names]
        assert shop.stalled.wait(20)
        wait_until_arrived(tmp_path, 2_500_000)
        shop.stall_after = None
        shop.go.set()
        assert [a.result(30).json()["id"] for a in answers] == [NAME, NAME]
    assert shop.starts == [0, 2_000_000, 2_500_000]


def test_damaged_bytes_never_become_a_model(tmp_path: Path, shop: Hub) -> None:
    shop.damaged = True
    with hive(tmp_path, shop.env()) as made:
        answer = download(made, NAME)
        assert (answer.status, answer.json()["error"]["code"]) == (502, "hub_failed")
        assert "sha256" in message(answer)
        assert partials(tmp_path) == []
        assert not (tmp_path / "models" / NAME).exists()
        shop.damaged = False
        assert download(made, NAME).json()["sha256"] == DIGEST


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path, shop: Hub) -> None:
    with hive(tmp_path, shop.env()) as made:
        answer = download(made, "org/repo:F16")
        assert (answer.status, answer.json()["error"]["code"]) == (400, "bad_model_file")
        assert not (tmp_path / "models" / "org").exists()


def test_a_hub_that_falls_silent_is_given_up(tmp_path: Path, shop: Hub) -> None:
    shop.cuts, shop.stall_after = [1_000_000], 0
    with hive(tmp_path, shop.env(), hub_timeout_s=0.5) as made:
        answer = download(made, NAME)
        assert answer.json()["error"]["code"] == "hub_failed"
        assert [p.stat().st_size for p in partials(tmp_path)] == [1_000_000]


@pytest.mark.skipif(sys.platform == "win32", reason="a file size limit stands in for a full disk")
def test_a_disk_that_is_full_is_told(tmp_path: Path, shop: Hub) -> None:
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    ours, theirs = os.pipe()
    command = [sys.executable, "-m", "rbee.hive.fetch", NAME, str(tmp_path), "5"]
    env = {**os.environ, **shop.env()}
    try:
        done = subprocess.run(
            command, stdin=ours, capture_output=True, env=env, preexec_fn=limit, timeout=30
        )
    finally:
        os.close(ours)
        os.close(theirs)
    last = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, last["type"], last["code"]) == (1, "failed", "unavailable")
    assert f"{tmp_path} cannot be written" in last["message"]


def test_a_download_process_that_is_killed_is_told(tmp_path: Path, shop: Hub) -> None:
    shop.stall_after = 1_000
    with hive(tmp_path, shop.env()) as made, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(download, made, NAME)
        assert shop.stalled.wait(20)
        (child,) = psutil.Process(made.pid).children()
        os.kill(child.pid, signal.SIGKILL)
        assert "ended early" in message(answer.result(20))
