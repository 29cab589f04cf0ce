"""What a worker's arguments say is read back as it was; nothing else is taken for a worker."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.config import HiveConfig
from rbee.hive.launch import START, Owner, Part, Wish, arguments
from rbee.hive.recall import Called, called

OWNER = Owner("desk", "http://127.0.0.1:7835")
NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z")
FILES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
PARTS = st.builds(lambda file: Part(f"id of {file}", file), FILES)
WISHES = st.builds(
    Wish,
    worker_id=NAMES,
    model_id=FILES,
    model_file=FILES,
    sha256=st.sampled_from(["", "ab" * 32]),
    device=st.sampled_from(["cpu", "metal", "cuda:1"]),
    slots=st.integers(1, 64),
    context=st.integers(0, 2**20),
    threads=st.integers(0, 1_024),
    gpu_layers=st.integers(-1, 10_000),
    projector=st.none() | PARTS,
    lora=st.dictionaries(NAMES, PARTS, max_size=4),
)
CONFIGS = st.builds(
    HiveConfig,
    queen=st.sampled_from(["", "http://a:1", "http://a:1, http://b:2"]),
    insecure=st.booleans(),
    threads=st.just(7),
)


def id_of(file: str) -> str:
    return f"id of {file}"


@given(WISHES, CONFIGS)
def test_there_and_back(wish: Wish, config: HiveConfig) -> None:
    argv = arguments(wish, config, OWNER, parent=42)
    assert called(argv, id_of) == Called(wish, OWNER, config.queen)


@given(st.lists(st.text(max_size=12), max_size=40))
def test_any_other_command_line_is_no_worker(argv: list[str]) -> None:
    assert called(argv, id_of) is None
    called([sys.executable, *START, *argv], id_of)  # whatever follows: no crash


@pytest.mark.parametrize(
    ("flag", "value"), [("--slots", "many"), ("--gpu-layers", ""), ("--ctx", "x"), ("--hive", None)]
)
def test_half_of_a_worker_is_none(flag: str, value: str | None) -> None:
    argv = arguments(Wish("w", "m", "/m", "", "cpu", 1, 64), HiveConfig(), OWNER, parent=1)
    at = argv.index(flag)
    argv[at : at + 2] = [flag, value] if value is not None else []
    assert called(argv, id_of) is None
