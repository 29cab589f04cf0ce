"""The files that a worker's flags name: found, or refused with the flag that named them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rbee import bee
from rbee.errors import BadRequest, ModelNotFound, Usage
from rbee.worker.files import find_adapters, find_model, find_projector


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file in it, and an empty home."""
    monkeypatch.setenv("RBEE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "style.gguf").write_bytes(b"GGUF")
    return tmp_path


def test_a_model_is_a_file_bee_or_an_id_in_rbees_home(here: Path) -> None:
    assert find_model("bee") == bee.path()
    assert find_model("style.gguf") == here / "style.gguf"
    inside = here / "home" / "models" / "org" / "repo" / "a.gguf"
    inside.parent.mkdir(parents=True)
    inside.write_bytes(b"GGUF")
    assert find_model("org/repo/a.gguf") == inside
    with pytest.raises(ModelNotFound, match="No file 'b"):
        find_model("b.gguf")
    with pytest.raises(Usage, match="needs --model"):
        find_model("")


@pytest.mark.parametrize("name", ["../../etc/passwd", "x\0.gguf", "x" * 5_000, "/nonexistent"])
def test_what_is_no_file_and_no_name(here: Path, name: str) -> None:
    with pytest.raises(BadRequest):
        find_model(name)


def test_adapters_have_names(here: Path) -> None:
    own = f"own={here / 'style.gguf'}"
    assert find_adapters([]) == {}
    assert find_adapters(["style=style.gguf", own]) == dict.fromkeys(
        ("style", "own"), here / "style.gguf"
    )
    (here / "a=b,c.gguf").write_bytes(b"GGUF")
    assert find_adapters(["odd=a=b,c.gguf"]) == {"odd": here / "a=b,c.gguf"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["style.gguf"], "is not NAME=FILE"),
        (["style="], "is not NAME=FILE"),
        (["=style.gguf"], "'' cannot be an adapter's name"),
        (["a b=style.gguf"], "'a b' cannot be an adapter's name"),
        (["-x=style.gguf"], "cannot be an adapter's name"),
        (["x" * 65 + "=style.gguf"], "cannot be an adapter's name"),
        (["a=style.gguf", "a=style.gguf"], "two adapters 'a'"),
        (["a=nothing.gguf"], "--lora a=nothing.gguf: there is no such file"),
        ([f"a={os.sep}"], "there is no such file"),
        (["a=x\0y"], "there is no such file"),
    ],
)
def test_adapters_that_cannot_be(here: Path, given: list[str], said: str) -> None:
    with pytest.raises(Usage, match=said):
        find_adapters(given)


def test_a_projector_is_a_file(here: Path) -> None:
    assert find_projector("") is None
    assert find_projector("style.gguf") == here / "style.gguf"
    with pytest.raises(Usage, match=r"--projector eye\.gguf: there is no such file"):
        find_projector("eye.gguf")
