"""The README's own commands, as they are printed, against a fresh stack.

The ports are replaced by free ones, and the hub by a local one that holds the README's model.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub import hub
from tests.processes import ROOT
from tests.system.stack import Stack, stack

MODEL = ("Qwen/Qwen3-0.6B-GGUF", "Qwen3-0.6B-Q8_0.gguf")
BEE = ROOT / "rbee" / "bee" / "bee.gguf"


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


CURLS = [block for block in blocks("sh") if "curl" in block]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with hub() as local:
        local.repos[MODEL[0]] = {MODEL[1]: BEE.read_bytes()}
        with stack(tmp_path_factory.mktemp("readme"), **local.env()) as made:
            yield made


def test_there_are_examples() -> None:
    assert len(CURLS) >= 5
    operations = set(re.findall(r'"operation": "(\w+)"', "".join(CURLS)))
    assert len(operations) == 10


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("block", CURLS, ids=lambda b: re.sub(r"\W+", "-", b[40:90]))
def test_curl_examples_work_as_printed(served: Stack, block: str, tmp_path: Path) -> None:
    for port, url in (("7833", served.queen), ("7835", served.hive)):
        block = block.replace(f"localhost:{port}", url.removeprefix("http://"))
    strict = block.replace("curl -s", "curl --fail-with-body -s")
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", strict],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"type":"failed"' not in done.stdout and '"error":{' not in done.stdout


def test_the_python_example_works_as_printed(served: Stack) -> None:
    (example,) = blocks("python")
    code = example.replace("localhost:7833", served.queen.removeprefix("http://"))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Bee" in done.stdout


def test_commands_of_the_table_exist(served: Stack) -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    named = set(re.findall(r"^\| `rbee (\w+)|, `rbee (\w+)`", text, re.M))
    for name in {first or second for first, second in named}:
        assert served.run(name, "--help").returncode == 0, name
