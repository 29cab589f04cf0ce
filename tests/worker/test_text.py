"""Text is certain, whole and independent of how the model's tokens cut it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rbee.worker.engine.text import Assembler, overlap
from tests.worker.cuts import cut, cuts

TEXT = st.text(max_size=40)
SMALL = st.text("ab<é", max_size=24)
STOPS = st.lists(st.text("ab<é", min_size=1, max_size=4), max_size=4)


def assemble(pieces: list[bytes], stops: list[str]) -> tuple[list[str], bool]:
    assembler = Assembler(stops)
    given_out = [assembler.feed(piece) for piece in pieces]
    return [*given_out, assembler.finish()], assembler.stopped


def by_character(text: str, stops: list[str]) -> str:
    """The reference: read on until a stop string stands at the end."""
    for end in range(1, len(text) + 1):
        matching = [s for s in stops if text[:end].endswith(s)]
        if matching:
            return text[: end - max(map(len, matching))]
    return text


@given(TEXT, cuts())
def test_any_cutting_gives_the_text(text: str, at: list[int]) -> None:
    given_out, stopped = assemble(cut(text.encode(), at), [])
    assert "".join(given_out) == text and not stopped


@given(TEXT, cuts())
def test_text_comes_as_soon_as_its_characters_are_whole(text: str, at: list[int]) -> None:
    assembler, fed, said = Assembler(), b"", ""
    for piece in cut(text.encode(), at):
        fed += piece
        said += assembler.feed(piece)
        assert said == fed.decode("utf-8", "ignore")


@given(SMALL, STOPS, cuts())
@example("xabc", ["abc", "b"], [])
@example("aab", ["ab"], [1, 2])
def test_stop_strings_end_the_text_wherever_it_is_cut(
    text: str, stops: list[str], at: list[int]
) -> None:
    given_out, stopped = assemble(cut(text.encode(), at), stops)
    expected = by_character(text, stops)
    assert "".join(given_out) == expected
    assert stopped == any(s in text for s in stops)
    assert not any(s in expected for s in stops)


@given(SMALL, STOPS, cuts())
def test_nothing_said_is_ever_taken_back(text: str, stops: list[str], at: list[int]) -> None:
    assembler, said = Assembler(stops), ""
    for piece in cut(text.encode(), at):
        said += assembler.feed(piece)
        assert by_character(text, stops).startswith(said)


def test_after_a_stop_nothing_is_said() -> None:
    assembler = Assembler(["STOP"])
    assert assembler.feed(b"yes S") == "yes "
    assert assembler.feed(b"TOP and more") == ""
    assert assembler.stopped
    assert assembler.feed(b"more") == "" and assembler.finish() == ""


def test_what_was_held_for_a_stop_that_never_came_is_said_at_the_end() -> None:
    assembler = Assembler(["STOP"])
    assert assembler.feed(b"abc STO") == "abc "
    assert assembler.finish() == "STO"


def test_a_stop_string_of_many_bytes_may_straddle_its_own_characters() -> None:
    assembler = Assembler(["é!"])
    assert [assembler.feed(p) for p in (b"caf", b"\xc3", b"\xa9", b"!x")] == ["caf", "", "", ""]
    assert assembler.stopped


@pytest.mark.parametrize(
    ("raw", "text"),
    [(b"\xff", "�"), (b"a\xc3", "a�"), (b"\xe2\x82b", "�b"), (b"\xf0\x9f\x90", "�")],
)
def test_bytes_that_are_no_text_become_replacement_characters(raw: bytes, text: str) -> None:
    for pieces in ([raw], [bytes([b]) for b in raw]):
        assert "".join(assemble(pieces, [])[0]) == text
        assert "".join(assemble(pieces, ["zz"])[0]) == text


@given(SMALL, st.text("ab<é", min_size=1, max_size=5))
def test_overlap_is_the_longest_proper_beginning(text: str, mark: str) -> None:
    found = [n for n in range(len(mark)) if text.endswith(mark[:n])]
    assert overlap(text, mark) == max(found)
