"""Which file of a repository a name means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.errors import BadModelFile, ModelAmbiguous, ModelNotFound, RbeeError
from rbee.hive.choice import HubFile, choose, has_word
from rbee.hive.hub import without
from rbee.naming import parse

USUAL = [
    "README.md",
    "Tiny-IQ4_XS.gguf",
    "Tiny-Q4_K_M.gguf",
    "Tiny-Q4_K_S.gguf",
    "Tiny-Q8_0.gguf",
    "Tiny-F16.gguf",
    "mmproj-Tiny-F16.gguf",
    "Tiny-imatrix.gguf",
]


def files(*names: str) -> list[HubFile]:
    return [HubFile(name, 1) for name in names]


@pytest.mark.parametrize(
    ("name", "there", "chosen"),
    [
        ("o/r", USUAL, "Tiny-Q4_K_M.gguf"),
        ("o/r", ["a.gguf"], "a.gguf"),
        ("o/r", ["Tiny-Q2_K.gguf", "Tiny-Q6_K.gguf"], "Tiny-Q6_K.gguf"),
        ("o/r:q4_k_s", USUAL, "Tiny-Q4_K_S.gguf"),
        ("o/r:F16", USUAL, "Tiny-F16.gguf"),
        ("o/r:IQ4_XS", USUAL, "Tiny-IQ4_XS.gguf"),
        ("o/r:Q4_0", ["Q4_0/tiny.gguf", "Q8_0/tiny.gguf"], "Q4_0/tiny.gguf"),
        ("o/r:Q8_0", ["t.Q8_0.gguf", "t_Q4_0.gguf"], "t.Q8_0.gguf"),
        ("o/r/Tiny-Q8_0.gguf", USUAL, "Tiny-Q8_0.gguf"),
        ("o/r/sub/x.gguf", ["x.gguf", "sub/x.gguf"], "sub/x.gguf"),
        ("o/r", ["a-Q4_K_M-00001-of-00002.gguf", "a-Q8_0.gguf"], "a-Q8_0.gguf"),
        ("o/r/mmproj-Tiny-F16.gguf", USUAL, "mmproj-Tiny-F16.gguf"),
    ],
)
def test_the_file_that_is_meant(name: str, there: list[str], chosen: str) -> None:
    assert choose(parse(name), files(*there)).path == chosen


@pytest.mark.parametrize(
    ("name", "there", "error", "said"),
    [
        ("o/r", [], ModelNotFound, "It has: nothing"),
        ("o/r", ["config.json"], ModelNotFound, "config.json"),
        ("o/r", ["mmproj-F16.gguf"], ModelNotFound, "holds no GGUF model"),
        ("o/r:Q4_K", USUAL, ModelNotFound, "Tiny-Q4_K_M.gguf"),
        ("o/r:Q4_XS", USUAL, ModelNotFound, "Tiny-IQ4_XS.gguf"),
        ("o/r", ["a.gguf", "b.gguf"], ModelAmbiguous, "a.gguf, b.gguf"),
        ("o/r:Q4_0", ["a-Q4_0.gguf", "b-Q4_0.gguf"], ModelAmbiguous, "a-Q4_0.gguf"),
        ("o/r:Q4_0", ["a-Q4_0-00001-of-00002.gguf"], BadModelFile, "split into 1"),
        ("o/r", ["../../x.gguf", "/etc/x.gguf", "a\0.gguf"], ModelNotFound, "no GGUF"),
    ],
)
def test_no_file_is_meant(name: str, there: list[str], error: type[RbeeError], said: str) -> None:
    with pytest.raises(error, match=said):
        choose(parse(name), files(*there))


@given(st.lists(st.text(max_size=40).map(lambda t: t + ".gguf"), max_size=8))
def test_no_listing_leads_out_of_the_folder(names: list[str]) -> None:
    try:
        chosen = choose(parse("o/r"), files(*names))
    except RbeeError:
        return
    assert ".." not in chosen.path
    assert not chosen.path.startswith("/")
    assert "\\" not in chosen.path


def test_words_end_where_they_end() -> None:
    assert has_word("tiny.Q4_K_M.gguf", "q4_k_m")
    assert has_word("tiny_Q4_0.gguf", "Q4_0")
    assert not has_word("tiny-Q4_K_M.gguf", "Q4_K")
    assert not has_word("tiny-BF16.gguf", "F16")


@given(st.lists(st.binary(max_size=9), max_size=9), st.integers(0, 50))
def test_a_range_made_by_hand(chunks: list[bytes], skip: int) -> None:
    kept = list(without(skip, chunks))
    assert b"".join(kept) == b"".join(chunks)[skip:]
    assert len(kept) == len(chunks), "a skipped chunk is no silence"
