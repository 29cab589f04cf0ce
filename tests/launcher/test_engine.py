"""How llama.cpp comes into .venv: from which cache, with which options, and whether it loads."""

import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.launcher.miniature import DEADLINE_S, ENGINE_VERSION, Miniature


def cache_wheel(small: Miniature, cmake_args: str) -> None:
    """Has pip build and cache a wheel outside of the launcher, as somebody else might."""
    subprocess.run(
        [
            *(small.root / ".venv" / "bin" / "python", "-m", "pip", "wheel", "-q", "--no-deps"),
            *("-w", small.root.parent / "wheels", f"llama-cpp-python=={ENGINE_VERSION}"),
        ],
        env={**small.environ, "CMAKE_ARGS": cmake_args},
        timeout=DEADLINE_S,
        check=True,
    )


def without_compiler(small: Miniature, folder: Path) -> Miniature:
    empty = folder / "empty"
    empty.mkdir()
    environ = {name: text for name, text in small.environ.items() if name != "CXX"}
    return Miniature(small.root, {**environ, "PATH": str(empty)})


def test_a_missing_compiler_is_one_line_before_anything_compiles(
    with_engine: Miniature, tmp_path: Path
) -> None:
    bare = without_compiler(with_engine, tmp_path)
    done = bare.run("x")
    assert done.returncode == 1
    assert "no C++ compiler found" in done.stderr.splitlines()[-2]
    assert done.stderr.splitlines()[-1].startswith("hint: ")
    assert bare.builds() == 0


def test_no_compiler_is_needed_for_what_pip_has_cached(
    with_engine: Miniature, tmp_path: Path, launcher: ModuleType
) -> None:
    if launcher.detect()[0].own:
        pytest.skip("this machine builds with options of its own, which pip's cache does not keep")
    cache_wheel(with_engine, "")
    done = without_compiler(with_engine, tmp_path).run("x")
    assert done.returncode == 0, done.stderr
    assert with_engine.engine_options() == ""


def test_no_compiler_is_needed_where_a_wheel_is_offered(
    with_engine: Miniature, tmp_path: Path
) -> None:
    cache_wheel(with_engine, "-DOFFERED=1")
    (wheel,) = (tmp_path / "wheels").iterdir()
    wheel.rename(tmp_path / "links" / wheel.name)
    bare = without_compiler(with_engine, tmp_path)
    done = bare.run("x", PIP_CACHE_DIR=str(tmp_path / "another"))
    assert done.returncode == 0, done.stderr
    assert with_engine.engine_options() == "-DOFFERED=1"


def test_options_of_ones_own_are_used_and_not_cached(with_engine: Miniature) -> None:
    cache_wheel(with_engine, "-DOLD=1")
    done = with_engine.run("x", CMAKE_ARGS="-DGGML_VULKAN=on")
    assert done.returncode == 0, done.stderr
    assert "CMAKE_ARGS is set: building llama.cpp with -DGGML_VULKAN=on" in done.stderr
    assert "compiles for about five minutes" in done.stderr
    assert with_engine.engine_options() == "-DGGML_VULKAN=on"
    assert "-DGGML_VULKAN=on" in with_engine.stamp.read_text()
    wheels = list((with_engine.root.parent / "cache").rglob("llama_cpp_python*.whl"))
    assert len(wheels) == 1


def test_a_cached_wheel_that_does_not_load_is_compiled_anew(with_engine: Miniature) -> None:
    cache_wheel(with_engine, "-DBROKEN=1")
    done = with_engine.run("x")
    assert done.returncode == 0, done.stderr
    assert "BROKEN" not in with_engine.engine_options()


def test_a_build_that_does_not_load_is_not_stamped(with_engine: Miniature) -> None:
    done = with_engine.run("x", CMAKE_ARGS="-DBROKEN=1")
    assert done.returncode == 1
    assert "was built, but does not load here" in done.stderr
    assert "libcuda.so.1" in done.stderr
    assert not with_engine.stamp.exists()


def test_a_later_choice_compiles_only_when_asked(with_engine: Miniature) -> None:
    assert with_engine.run("x", CMAKE_ARGS="-DONE=1").returncode == 0
    told = with_engine.run("setup", CMAKE_ARGS="-DTWO=2")
    assert "setup --rebuild" in told.stderr
    with (with_engine.root / "pyproject.toml").open("a") as project:
        project.write("# changed\n")
    assert with_engine.run("x", CMAKE_ARGS="-DTWO=2").returncode == 0
    assert with_engine.engine_options() == "-DONE=1"
    assert "-DONE=1" in with_engine.stamp.read_text()

    done = with_engine.run("setup", "--rebuild", CMAKE_ARGS="-DTWO=2")
    assert done.returncode == 0, done.stderr
    assert with_engine.engine_options() == "-DTWO=2"
    assert "-DTWO=2" in with_engine.stamp.read_text()
