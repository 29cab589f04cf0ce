"""Installs that do not go well: interrupted, killed, failed, or two at a time."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.launcher.miniature import Miniature, finish, wait_for


@contextmanager
def standing_still(small: Miniature) -> Iterator[subprocess.Popen[str]]:
    """A first start in the middle of pip's build, which goes on once unblocked."""
    small.block()
    with small.begin("x") as process:
        try:
            wait_for(small.is_blocked, "the build to begin")
            yield process
        finally:
            (small.root / "block").unlink(missing_ok=True)
            process.kill()


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(one.is_running() and one.status() != "zombie" for one in processes)


def repaired(small: Miniature) -> None:
    done = small.run("x")
    assert done.returncode == 0, done.stderr
    assert "the last install did not finish" in done.stderr
    assert small.stamp.exists()
    assert small.run("x").stderr == ""


def test_an_install_killed_whole_is_repaired(small: Miniature) -> None:
    with standing_still(small) as process:
        children = family(process)
        for one in [psutil.Process(process.pid), *children]:
            one.kill()
        psutil.wait_procs(children, timeout=10)
        assert finish(process).returncode == -signal.SIGKILL
    assert not small.stamp.exists()
    repaired(small)


def test_after_a_killed_launcher_the_next_waits_for_its_pip(small: Miniature) -> None:
    with standing_still(small) as process:
        children = family(process)
        process.kill()
        process.wait(10)
        with small.begin("x") as second:
            assert second.stderr is not None
            assert "another start is installing" in second.stderr.readline()
            small.unblock()
            done = finish(second)
    assert done.returncode == 0, done.stderr
    assert small.stamp.exists()
    wait_for(lambda: gone(children), "the first start's pip to end")


def test_two_starts_at_once_install_once(small: Miniature) -> None:
    with standing_still(small) as first, small.begin("x") as second:
        assert second.stderr is not None
        assert "another start is installing" in second.stderr.readline()
        small.unblock()
        ends = finish(first), finish(second)
    assert [end.returncode for end in ends] == [0, 0]
    assert "rbee/main.py ['x']" in ends[0].stdout
    assert ends[0].stdout == ends[1].stdout
    assert ends[1].stderr == ""
    assert small.builds() == 1


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by signal 15")],
)
def test_a_signal_ends_pip_too(
    small: Miniature, number: signal.Signals, code: int, line: str
) -> None:
    with standing_still(small) as process:
        children = family(process)
        assert children
        process.send_signal(number)
        done = finish(process)
        assert done.returncode == code
        assert line in done.stderr
        wait_for(lambda: gone(children), "pip and its build to end")
        assert not list((small.root.parent / "tmp").glob("pip-*")), "pip could not clean up"
    assert not small.stamp.exists()
    repaired(small)


def test_a_failed_build_shows_why_and_the_next_start_tries_again(small: Miniature) -> None:
    (small.root / "fail").touch()
    done = small.run("x")
    assert (done.returncode, done.stdout) == (1, "")
    assert "packages failed (exit 1)" in done.stderr
    assert "    widget.cpp:7: error: 'frobnicate' was not declared" in done.stderr.replace(
        "      widget", "    widget"
    )
    assert f"the whole log: {small.log}" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("hint: ")
    (small.root / "fail").unlink()
    repaired(small)


def test_an_unreachable_index_is_recognised(small: Miniature) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    small.needs("nothing-of-this-name==1")
    index = f"http://127.0.0.1:{port}/simple"
    done = small.run("x", PIP_NO_INDEX="0", PIP_INDEX_URL=index, PIP_RETRIES="1")
    assert done.returncode == 1
    assert "hint: the package index could not be reached" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_recognised(small: Miniature) -> None:
    small.log.symlink_to("/dev/full")
    (small.root / "fail").touch()
    done = small.run("x")
    assert done.returncode == 1
    assert "frobnicate" in done.stderr
    assert "hint: the disk is full" in done.stderr


def test_a_folder_that_cannot_be_used_is_one_line(small: Miniature) -> None:
    os.rename(small.root / ".venv", small.root / "elsewhere")
    (small.root / ".venv").write_text("in the way")
    done = small.run("x")
    assert done.returncode == 1
    assert "cannot go on" in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr


def test_a_python_that_went_away_means_a_new_venv(small: Miniature) -> None:
    assert small.run("x").returncode == 0
    python = small.root / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(small.root / "uninstalled")
    done = small.run("x")
    assert done.returncode == 0, done.stderr
    assert "the Python behind .venv has changed" in done.stderr
    assert "making it anew" in done.stderr


def test_a_half_made_venv_is_made_anew(small: Miniature) -> None:
    (next(small.packages().glob("pip-*.dist-info")) / "RECORD").unlink()
    done = small.run("x")
    assert done.returncode == 0, done.stderr
    assert "making it anew" in done.stderr


def test_a_half_installed_package_is_installed_again(with_engine: Miniature) -> None:
    assert with_engine.run("x").returncode == 0
    packages = with_engine.packages()
    (next(packages.glob("llama_cpp_python-*.dist-info")) / "RECORD").unlink()
    (packages / "llama_cpp" / "__init__.py").unlink()
    (packages / "~lama_cpp").mkdir()
    with_engine.stamp.unlink()
    repaired(with_engine)
    assert with_engine.engine_options() is not None
    assert not (packages / "~lama_cpp").exists()
