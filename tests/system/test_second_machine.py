"""Two machines, as the README's three lines make them: network namespaces joined by a cable.

Needs root and `ip` (iproute2), on Linux; skipped elsewhere.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.bee.known_answers import ANSWERS
from tests.processes import Started, started
from tests.system.stack import RBEE, chat, fact

FIRST, SECOND = "10.213.77.1", "10.213.77.2"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)


@pytest.fixture(scope="module")
def machines() -> Iterator[tuple[str, str]]:
    """Two namespaces that reach each other and nothing else."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need Linux, root and ip (iproute2)")
    mark = secrets.token_hex(2)
    names = (f"rbee-{mark}-a", f"rbee-{mark}-b")
    try:
        ip("netns", "add", names[0])
    except subprocess.CalledProcessError as exc:
        pytest.skip(f"no network namespaces here: {exc.stderr.decode()[:200]}")
    try:
        ip("netns", "add", names[1])
        ip("link", "add", f"v{mark}a", "netns", names[0], "type", "veth",
           "peer", "name", f"v{mark}b", "netns", names[1])  # fmt: skip
        for name, end, address in zip(names, "ab", (FIRST, SECOND), strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", f"v{mark}{end}")
            ip("-n", name, "link", "set", f"v{mark}{end}", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=10)


@contextmanager
def on(machine: str, home: Path, *arguments: str) -> Iterator[Started]:
    home.mkdir(exist_ok=True)
    env = {k: v for k, v in os.environ.items() if not k.startswith("RBEE_")}
    command = ["ip", "netns", "exec", machine, *RBEE, "serve", *arguments]
    with started(command, {**env, "RBEE_HOME": str(home)}) as process:
        yield process


def ask(machine: str, url: str, body: dict[str, Any], *headers: str) -> tuple[int, str]:
    """curl on that machine; status and body."""
    extra = [part for header in headers for part in ("-H", header)]
    done = subprocess.run(
        ["ip", "netns", "exec", machine, "curl", "-s", "-m", "30", "-w", "\n%{http_code}",
         "-H", "Content-Type: application/json", *extra, "-d", json.dumps(body), url],
        check=True, capture_output=True, text=True, timeout=40,
    )  # fmt: skip
    text, _, status = done.stdout.rpartition("\n")
    return int(status), text


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_second_machine_joins_and_answers(machines: tuple[str, str], tmp_path: Path) -> None:
    first, second = machines
    open_ = ("--bind", "0.0.0.0", "--insecure")
    queen = f"http://{FIRST}:7833"
    with (
        on(first, tmp_path / "one", *open_),
        on(second, tmp_path / "two", "--role", "hive", "--queen", queen, "--id", "second", *open_),
    ):
        jobs = f"{queen}/v1/jobs"

        def known() -> set[str]:
            status = json.loads(ask(first, jobs, {"operation": "status"})[1])
            return {hive["hive"]["url"] for hive in status["hives"]}

        fact(lambda: f"http://{SECOND}:7835" in known(), "the second hive is known")
        wanted = chat("Hello", hive_id="second", stream=False)
        status, text = ask(first, jobs, wanted)
        assert status == 200, text
        assert json.loads(text)["choices"][0]["text"] == ANSWERS["Hello"]
        workers = json.loads(ask(second, jobs, {"operation": "status"})[1])["workers"]
        assert [w["worker"]["url"] for w in workers] == [f"http://{SECOND}:8080"]
        assert ask(second, jobs, {"operation": "status"}, "Host: evil.example")[0] == 403
