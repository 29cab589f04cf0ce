"""What the launcher's tests share: the launcher as a module, and projects for it to install."""

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.launcher.miniature import LAUNCHER, Miniature, engine_source, make_miniature


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_counts() -> Iterator[None]:
    """A suite started in a shell's background ignores Ctrl-C, and so would all that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def launcher() -> ModuleType:
    """rbee.py under a name of its own: `import rbee` would find the package."""
    spec = importlib.util.spec_from_file_location("launcher", LAUNCHER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One empty environment: copying it is quicker than making one for every test."""
    folder = tmp_path_factory.mktemp("venv")
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([base, "-m", "venv", folder], check=True, timeout=60)
    return folder


@pytest.fixture
def small(tmp_path: Path, venv: Path) -> Miniature:
    """A project whose .venv is there, and nothing in it."""
    return make_miniature(tmp_path, venv)


@pytest.fixture
def with_engine(small: Miniature) -> Miniature:
    """The same, needing the stand-in for llama-cpp-python."""
    engine_source(small.root.parent / "links")
    small.needs_engine()
    return small
