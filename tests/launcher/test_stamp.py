"""The stamp: what it keeps, and when it says that an install is due."""

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

NOW = {"root": "'/r'", "python": "'/usr/bin/python3.11'", "project": "'[project]\\n'"}


@given(value=st.text())
def test_any_value_comes_back(launcher: ModuleType, value: str) -> None:
    stamp = {"root": ascii(value), "engine": "'cpu'"}
    assert launcher.load_stamp(launcher.dump_stamp(stamp)) == stamp


@given(text=st.text())
def test_any_file_is_read(launcher: ModuleType, text: str) -> None:
    assert isinstance(launcher.load_stamp(text), dict)


def test_nothing_is_due_when_all_is_as_it_was(launcher: ModuleType) -> None:
    assert launcher.outdated({**NOW, "extras": "none"}, NOW, test=False) == ""
    assert launcher.outdated({**NOW, "extras": "test"}, NOW, test=False) == ""
    assert launcher.outdated({**NOW, "extras": "test"}, NOW, test=True) == ""


@pytest.mark.parametrize(
    ("changed", "reason"),
    [("root", "moved"), ("python", "Python"), ("project", "pyproject.toml has changed")],
)
def test_a_change_makes_an_install_due(launcher: ModuleType, changed: str, reason: str) -> None:
    stamp = {**NOW, "extras": "test"}
    assert reason in launcher.outdated(stamp, {**NOW, changed: "'other'"}, test=False)
    del stamp[changed]
    assert reason in launcher.outdated(stamp, NOW, test=False)


def test_an_unfinished_install_and_missing_extras(launcher: ModuleType) -> None:
    assert "did not finish" in launcher.outdated({}, NOW, test=False)
    assert "tests need" in launcher.outdated({**NOW, "extras": "none"}, NOW, test=True)
