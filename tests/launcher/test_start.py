"""Starts as a user sees them: the real launcher, the real pip, a small project, no network."""

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launcher.miniature import DEADLINE_S, LAUNCHER, Miniature, finish, make_miniature


def test_the_first_start_installs_and_the_second_does_not(tmp_path: Path) -> None:
    small = make_miniature(tmp_path, None)
    first = small.run("infer", "Hello, who are you?", EXIT="3")
    assert first.returncode == 3
    said_back = f"{small.root}/rbee/main.py ['infer', 'Hello, who are you?'] {small.root.parent}\n"
    assert first.stdout == said_back
    assert "first start" in first.stderr
    assert "making .venv" in first.stderr

    before = small.log.stat()
    second = small.run("infer", "Hello, who are you?", EXIT="0")
    assert (second.returncode, second.stdout, second.stderr) == (0, said_back, "")
    assert small.log.stat() == before
    assert small.builds() == 1


def test_later_starts_import_nothing_heavy(small: Miniature) -> None:
    assert small.run("setup").returncode == 0
    start = [sys.executable, "-S", "-X", "importtime", str(small.root / "rbee.py"), "x"]
    done = subprocess.run(start, capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "os" in imported
    assert not imported & {"subprocess", "re", "json", "hashlib", "typing", "venv", "shutil"}


def test_the_suite_is_started_in_the_project_with_the_extra(small: Miniature) -> None:
    assert small.run("setup").returncode == 0
    done = small.run("test", "-k", "a or b", EXIT="5")
    assert done.returncode == 5
    assert done.stdout == f"{small.root}/pytest.py ['-k', 'a or b'] {small.root}\n"
    assert "the tests need more packages" in done.stderr
    assert ".[test]" in small.log.read_text()

    assert small.run("test").stderr == ""
    assert small.run("anything").stderr == ""


def test_a_changed_project_is_installed_again_with_its_extras(small: Miniature) -> None:
    assert small.run("setup", "--test").returncode == 0
    with (small.root / "pyproject.toml").open("a") as project:
        project.write("# changed\n")
    done = small.run("x")
    assert done.returncode == 0
    assert "pyproject.toml has changed" in done.stderr
    assert ".[test]" in small.log.read_text()
    assert small.builds() == 2


def test_a_moved_folder_is_noticed(small: Miniature) -> None:
    assert small.run("setup").returncode == 0
    moved = Miniature(small.root.rename(small.root.parent / "moved"), small.environ)
    done = moved.run("x")
    assert done.stdout.startswith(f"{moved.root}/rbee/main.py")
    assert "the folder has moved" in done.stderr


def test_a_stray_module_in_the_users_folder_is_not_taken(small: Miniature) -> None:
    (small.root.parent / "rbee.py").write_text("raise SystemExit('the wrong rbee')\n")
    assert small.run("x").returncode == 0


def test_the_launcher_may_be_a_link(small: Miniature) -> None:
    link = small.root.parent / "link.py"
    link.symlink_to(small.root / "rbee.py")
    done = subprocess.run(
        [sys.executable, link, "x"], env=small.environ, timeout=DEADLINE_S, capture_output=True
    )
    assert done.returncode == 0
    assert small.stamp.exists()


def test_setup_installs_only_and_knows_its_flags(small: Miniature) -> None:
    done = small.run("setup")
    assert (done.returncode, done.stdout) == (0, "")
    assert "already installed" in small.run("setup").stderr
    wrong = small.run("setup", "--fast")
    assert wrong.returncode == 2
    assert "hint: usage: python3 rbee.py setup [--test] [--rebuild]" in wrong.stderr


@pytest.mark.parametrize(
    ("disguise", "line", "hint"),
    [
        ("sys.version_info = (3, 9, 6, 'final', 0)", "this is 3.9.6", "hint: "),
        ("sys.modules['ensurepip'] = None", "lacks venv or ensurepip", "hint: "),
    ],
)
def test_a_python_that_will_not_do(small: Miniature, disguise: str, line: str, hint: str) -> None:
    code = f"import runpy, sys; {disguise}; runpy.run_path(sys.argv[1], run_name='__main__')"
    start = [sys.executable, "-c", code, str(small.root / "rbee.py")]
    done = subprocess.run(
        start, env=small.environ, capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert line in first
    assert second.startswith(hint)
    assert small.builds() == 0


def test_the_launcher_alone_says_what_it_lacks(tmp_path: Path) -> None:
    shutil.copy(LAUNCHER, tmp_path)
    done = subprocess.run(
        [sys.executable, tmp_path / "rbee.py"], capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert done.returncode == 1
    assert "pyproject.toml is missing" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_terminal_gets_one_line_that_moves(small: Miniature) -> None:
    ours, theirs = pty.openpty()
    environ = {**small.environ, "TERM": "xterm"}
    with subprocess.Popen(
        small.command("setup"), env=environ, stdout=subprocess.PIPE, stderr=theirs, text=True
    ) as process:
        os.close(theirs)
        shown = read_terminal(ours)
        assert finish(process).returncode == 0
    assert "\rrbee: fetching packages" in shown
    lines = [line.rpartition("\r")[2] for line in shown.replace("\r\n", "\n").split("\n")]
    assert [line.split(",")[0] for line in lines if line.strip()][-1].startswith("rbee: installed")
    assert not any("fetching" in line for line in lines)


def read_terminal(file: int) -> str:
    """Everything shown until the last process that holds the terminal has gone."""
    shown = b""
    try:
        while piece := os.read(file, 4096):
            shown += piece
    except OSError:  # Linux's way to say that the other side is closed
        pass
    finally:
        os.close(file)
    return shown.decode()
