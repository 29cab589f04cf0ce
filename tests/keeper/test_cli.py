"""The command line as a whole: exit codes, one clear line, and nothing imported in vain."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rbee import __version__
from rbee.keeper.cli import COMMANDS
from tests.client.stub import Script, done, stream, stub, token
from tests.keeper.command import Rbee, local

HEAVY = {"aiohttp", "starlette", "uvicorn", "numpy", "rich", "anyio", "psutil", "platformdirs"}
WATCH = """
import sys
from rbee.main import main
code = main(sys.argv[1:])
sys.stderr.write(" ".join(sorted({name.partition(".")[0] for name in sys.modules})))
sys.exit(code)
"""


@pytest.fixture
def rbee(tmp_path: Path) -> Rbee:
    return local(tmp_path)


def imported(rbee: Rbee, *arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", WATCH, *arguments],
        env=rbee.env,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def test_version(rbee: Rbee) -> None:
    assert rbee("--version").out == f"rbee {__version__}\n"
    assert not imported(rbee, "--version") & {"click", "msgspec", "http", *HEAVY}


def test_infer_imports_nothing_heavy(rbee: Rbee) -> None:
    with stub(stream(token("x"), done())) as server:
        assert not imported(rbee, "infer", "Hi", "--queen", server.url) & HEAVY


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "bench"])
def test_every_command_has_its_help_and_its_json(rbee: Rbee, command: str) -> None:
    told = rbee(command, "--help")
    assert told.code == 0
    assert command in rbee("--help").out
    if command not in ("serve", "worker", "model", "hive"):
        assert "--json" in told.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["infer"],
        ["infer", ""],
        ["infer", "x", "--top-p", "7"],
        ["infer", "x", "--temperature", "hot"],
        ["infer", "x", "--raw", "--system", "y"],
        ["infer", "x", "--json-schema", "/nonexistent"],
        ["infer", "x", "--queen", "localhost"],
        ["infer", "x", "--queen", "http://a..b:7833"],
        ["infer", "not \udcff UTF-8"],
        ["embed", "not \udcff UTF-8"],
        ["worker", "get"],
        ["worker", "delete", "a", "--pid", "1"],
        ["worker", "get", "../../etc"],
        ["worker", "delete", "a", "--drain-s", "1"],
        ["worker", "delete", "a", "--drain", "--drain-s", "-1"],
        ["hive", "drain", "--undo", "--drain-s", "1"],
        ["hive", "drain", "--hive-id", "../x"],
        ["model", "get", ""],
        ["serve", "--role", "king"],
        ["serve", "--role", "queen", "--port", "99999"],
        ["serve", "--role", "queen", "--port", "x"],
        ["serve", "--role", "queen", "--bind", "0.0.0.0"],
        ["up", "--queen", "http://192.0.2.1:7833"],
        [],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2_and_says_why(rbee: Rbee, arguments: list[str]) -> None:
    told = rbee(*arguments)
    assert (told.code, told.out) == (2, "")
    assert told.err.strip()
    assert "Traceback" not in told.err


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["embed", "x"], ["gui"], ["worker", "list"], ["hive", "get"], ["top", "--json"]],
)
def test_nobody_there_is_one_line_and_a_hint(rbee: Rbee, arguments: list[str]) -> None:
    told = rbee(*arguments)
    first, second = told.err.splitlines()
    assert told.code == 1
    assert first.startswith("rbee: Nothing answers at http://127.0.0.1:")
    assert second.startswith("hint: rbee up")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [(["stauts"], "status"), (["worker", "lst"], "list"), (["model", "downlaod"], "download")],
    ids=str,
)
def test_a_slip_of_the_finger_is_understood(rbee: Rbee, typed: list[str], meant: str) -> None:
    told = rbee(*typed)
    assert told.code == 2
    assert told.err.endswith(f"No such command {typed[-1]!r}. Did you mean {meant!r}?\n")


def test_a_port_that_stays_mute_is_told_soon(rbee: Rbee) -> None:
    with stub(Script(b"", hold=True)) as server:
        told = rbee("status", "--queen", server.url)
    assert told.code == 1
    assert told.err.splitlines() == [
        f"rbee: {server.url}/v1/jobs said nothing for 5 s.",
        "hint: something else may be listening there",
    ]


@pytest.mark.parametrize("command", ["up", "down", "infer"])
def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    rbee = local(tmp_path / "file" / "home")
    told = rbee(command, *(["Hello"] if command == "infer" else []))
    first, second = told.err.splitlines()
    assert told.code == 1
    assert first.startswith(f"rbee: {rbee.home}")
    assert second.startswith("hint: rbee doctor")


def test_stdin_that_is_no_text_is_wrong_usage(rbee: Rbee) -> None:
    for utf8 in ("C.UTF-8", "C"):  # the second reads anything, and fails when it is sent
        told = subprocess.run(
            rbee.command("infer", "-"),
            env={**rbee.env, "LC_ALL": utf8},
            input=b"\xff\xfe",
            capture_output=True,
            timeout=30,
        )
        assert told.returncode == 2
        assert told.stderr.endswith(b"is not UTF-8 text.\n")


def test_a_terminal_that_cannot_show_a_character_gets_another(rbee: Rbee) -> None:
    with stub(stream(token("gr\u00fcezi"), done())) as server:
        told = subprocess.run(
            rbee.command("infer", "Hi", "--queen", server.url),
            env={**rbee.env, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            timeout=30,
        )
    assert (told.returncode, told.stdout) == (0, b"gr?ezi\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk here")
def test_a_full_disk_is_one_line(rbee: Rbee) -> None:
    with stub(stream(token("x"), done())) as server, open("/dev/full", "wb") as full:
        told = subprocess.run(
            rbee.command("infer", "Hi", "--queen", server.url),
            env=rbee.env,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=30,
        )
    assert told.returncode == 1
    assert told.stderr.startswith(b"rbee: No space left on device.\nhint: ")


def test_a_port_in_use_is_one_line(rbee: Rbee) -> None:
    with stub() as server:
        told = rbee("serve", "--role", "queen", "--port", server.url.rpartition(":")[2])
    assert told.code == 1
    assert told.err.splitlines()[0].endswith("is in use.")


def test_an_unknown_setting_in_the_environment_is_named(rbee: Rbee) -> None:
    done = subprocess.run(
        rbee.command("serve", "--role", "queen"),
        env={**rbee.env, "RBEE_QUEUE_LIMITS": "1"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert "RBEE_QUEUE_LIMITS" in done.stderr
