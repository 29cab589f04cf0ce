"""A file on its way: nothing but the whole, right file is ever moved into place."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from rbee import bee
from rbee.errors import BadModelFile, HubFailed, Unavailable
from rbee.hive.choice import HubFile
from rbee.hive.partial import Partial

BEE = bee.path().read_bytes()
DIGEST = hashlib.sha256(BEE).hexdigest()
FILE = HubFile("tiny.gguf", len(BEE), DIGEST)


def partial(models: Path, file: HubFile = FILE) -> Partial:
    return Partial(models, models / "org/repo/tiny.gguf", file)


def quietly(done: int) -> None:
    pass


def test_pieces_become_the_file(tmp_path: Path) -> None:
    made, seen = partial(tmp_path), list[int]()
    made.prepare()
    made.append([BEE[:10], BEE[10:1_000]], seen.append)
    assert seen == [10, 1_000]
    again = partial(tmp_path)
    assert again.done == 1_000
    again.append([BEE[1_000:]], seen.append)
    assert again.finish(quietly) == DIGEST
    assert (tmp_path / "org/repo/tiny.gguf").read_bytes() == BEE
    assert again.done == 0


def test_content_that_changed_is_another_file(tmp_path: Path) -> None:
    partial(tmp_path).append([b"old"], quietly)
    assert partial(tmp_path, HubFile("tiny.gguf", 5, "ab" * 32)).done == 0
    assert partial(tmp_path, HubFile("tiny.gguf", 5, blob="1")).path != partial(tmp_path).path


def test_more_than_was_promised_stops_the_transfer(tmp_path: Path) -> None:
    made = partial(tmp_path)
    with pytest.raises(HubFailed, match="more than"):
        made.append([BEE, b"x", b"y"], quietly)
    made.prepare()
    assert made.done == 0


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        (BEE[:-1], HubFailed, "bytes instead of"),
        (BEE[:-1] + b"x", HubFailed, "damaged"),
    ],
)
def test_what_fails_the_check_is_discarded(
    tmp_path: Path, data: bytes, error: type[Exception], said: str
) -> None:
    made = partial(tmp_path)
    made.append([data], quietly)
    with pytest.raises(error, match=said):
        made.finish(quietly)
    assert made.done == 0
    assert not (tmp_path / "org").exists()


def test_what_is_no_gguf_is_discarded(tmp_path: Path) -> None:
    made = partial(tmp_path, HubFile("tiny.gguf", 3))
    made.append([b"zip"], quietly)
    with pytest.raises(BadModelFile):
        made.finish(quietly)
    assert not (tmp_path / "org").exists()


def test_what_does_not_fit_is_refused_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="are free on the disk"):
        partial(tmp_path, HubFile("tiny.gguf", 2**60)).prepare()


def test_without_a_known_size_nothing_begins(tmp_path: Path) -> None:
    with pytest.raises(HubFailed, match="how large"):
        partial(tmp_path, HubFile("tiny.gguf"))
