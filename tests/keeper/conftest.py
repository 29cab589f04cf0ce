"""What the keeper's tests share: one real fleet, and the command line in front of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.keeper.command import Rbee, local
from tests.processes import started

SERVE = [sys.executable, "-m", "rbee.main", "serve", "--role"]


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rbee]:
    """A queen and a hive, each a process of its own, and `rbee` for them."""
    home = tmp_path_factory.mktemp("fleet")
    env = {"RBEE_HOME": str(home)}
    with started([*SERVE, "queen", "--port", "0"], env) as queen:
        wanted = ["hive", "--port", "0", "--id", "nest", "--queen", queen.url]
        with started([*SERVE, *wanted], env) as hive:
            yield Rbee(home, queen.url, hive.url)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Rbee]:
    """`rbee` with nothing running; what it starts is ended."""
    made = local(tmp_path / "home")
    yield made
    made("down")
