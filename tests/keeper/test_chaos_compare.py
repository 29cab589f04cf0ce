"""What an answer has lost, said twice or changed, found out from what a client heard."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.keeper.chaos.compare import compare, difference, reference_of
from rbee.keeper.chaos.heard import Heard, Piece, pause_s, silence_s, standstill_s
from rbee.keeper.chaos.plan import Reference

TEXTS = st.lists(
    st.tuples(st.text("abcé", min_size=3, max_size=6), st.integers(1, 3)), min_size=1, max_size=30
)
"""Pieces: text, and of how many tokens. None has more of these than characters."""


class Cut(NamedTuple):
    first: int
    end: int


def answer(pieces: list[tuple[str, int]], *, numbered: bool = True, choice: int = 0) -> list[Piece]:
    made, index = [], 0
    for at, (text, tokens) in enumerate(pieces):
        number = index if numbered else None
        made.append(Piece(float(at), choice, text, number, tokens if numbered else 0))
        index += tokens
    return made


def heard(pieces: list[Piece]) -> Heard:
    return Heard("some", pieces=pieces, ended=1.0)


def reference(pieces: list[Piece]) -> Reference:
    return reference_of(heard(pieces))


@st.composite
def cuts(draw: st.DrawFn) -> tuple[list[tuple[str, int]], Cut]:
    pieces = draw(TEXTS)
    first = draw(st.integers(0, len(pieces) - 1))
    return pieces, Cut(first, draw(st.integers(first + 1, len(pieces))))


@given(TEXTS, st.booleans())
def test_the_same_answer_has_lost_nothing(pieces: list[tuple[str, int]], numbered: bool) -> None:
    made = answer(pieces, numbered=numbered)
    assert compare(heard(made), reference(made)).none


def test_an_end_without_text_is_no_part_of_the_text() -> None:
    assert reference(answer([("some", 2), ("thing", 1), ("", 1)])).pieces == 2


@given(cuts())
def test_numbers_that_are_missing_are_lost(case: tuple[list[tuple[str, int]], Cut]) -> None:
    pieces, cut = case
    whole = answer(pieces)
    found = compare(heard(whole[: cut.first] + whole[cut.end :]), reference(whole))
    gone = whole[cut.first : cut.end]
    assert found.lost == len("".join(piece.text for piece in gone))
    assert found.repeated == 0 and not found.differs


@given(cuts())
def test_numbers_that_come_again_are_repeated(case: tuple[list[tuple[str, int]], Cut]) -> None:
    pieces, cut = case
    whole = answer(pieces)
    twice = whole[cut.first : cut.end]
    found = compare(heard(whole[: cut.end] + twice + whole[cut.end :]), reference(whole))
    assert found.repeated == len("".join(piece.text for piece in twice))
    assert found.lost == 0 and not found.differs


def test_tokens_that_said_nothing_are_lost_all_the_same() -> None:
    whole = answer([("a", 1), ("", 2), ("b", 1)])
    assert compare(heard([whole[0], whole[2]]), reference(whole)).lost == 2


@given(cuts())
def test_without_numbers_the_length_of_the_text_tells(
    case: tuple[list[tuple[str, int]], Cut],
) -> None:
    pieces, cut = case
    whole = answer(pieces, numbered=False)
    said = sum(len(p.text) for p in whole[cut.first : cut.end])
    less = compare(heard(whole[: cut.first] + whole[cut.end :]), reference(whole))
    assert (less.lost, less.repeated, less.differs) == (said, 0, "")
    again = whole[: cut.end] + whole[cut.first :]
    more = compare(heard(again), reference(whole))
    assert (more.lost, more.repeated, more.differs) == (0, said, "")


@pytest.mark.parametrize("numbered", [True, False])
def test_another_text_is_neither_and_is_told_with_its_place(numbered: bool) -> None:
    whole = answer([("one ", 1), ("two ", 1), ("three", 1)], numbered=numbered)
    other = [whole[0], replace(whole[1], text="six "), whole[2]]
    found = compare(heard(other), reference(whole))
    assert (found.lost, found.repeated) == (0, 0)
    assert found.differs == (
        "choice 0: from character 4 on it says 'six three' and not 'two three'"
    )


def test_every_choice_is_looked_at() -> None:
    whole = answer([("a", 1), ("b", 1)]) + answer([("c", 1), ("d", 1)], choice=1)
    assert compare(heard(whole[:-1]), reference(whole)).lost == 1
    assert compare(heard(whole[:2]), reference(whole)).lost == 2
    third = answer([("e", 1)], choice=2)
    assert compare(heard(whole + third), reference(whole)).differs == "choice 2 was not asked for"


def test_the_joined_text_must_parse() -> None:
    whole = answer([('{"a": ', 3), ("1", 1)])
    found = compare(heard(whole), reference(whole), parses=True)
    assert found.differs.startswith("choice 0 is no JSON")
    ended = answer([('{"a": ', 3), ("1}", 2)])
    assert compare(heard(ended), reference(ended), parses=True).none


def test_log_probabilities_are_counted() -> None:
    whole = [replace(piece, scored=1) for piece in answer([("a", 1), ("b", 1)])]
    some = [whole[0], replace(whole[1], scored=0)]
    assert compare(heard(some), reference(whole)).differs == (
        "1 tokens came with their log probability, not 2"
    )


@pytest.mark.parametrize(
    ("said", "expected", "told"),
    [
        ("abc", "abd", "from character 2 on it says 'c' and not 'd'"),
        ("ab", "abd", "from character 2 on it says '' and not 'd'"),
        ("x" * 40, "y" * 40, f"from character 0 on it says {'x' * 24!r} and not {'y' * 24!r}"),
    ],
)
def test_a_difference_shows_both(said: str, expected: str, told: str) -> None:
    assert difference(said, expected) == told


def test_a_pause_is_between_two_pieces_and_a_standstill_after_what_happened() -> None:
    times = [0.0, 0.1, 0.2, 1.0, 1.1, 1.2]
    made = heard([Piece(at, 0, "x") for at in times])
    assert pause_s(made) == pytest.approx(0.8)
    assert standstill_s(made, 0.3) == pytest.approx(0.7), "not what was before it happened"
    assert standstill_s(made, 0.15) == pytest.approx(0.8), "what was on its way does not count"
    assert standstill_s(made, 1.15) == pytest.approx(0.05)
    assert standstill_s(made, 1.2) is None, "nothing came after"
    assert pause_s(heard([])) == 0.0


def test_silence_is_also_before_an_answer_begins_and_before_its_end() -> None:
    made = Heard("some", began=0.0, pieces=[Piece(at, 0, "x") for at in (3.0, 3.5)], ended=9.0)
    assert silence_s(made, 1.0) == pytest.approx(5.5)
    assert silence_s(replace(made, ended=4.0), 1.0) == pytest.approx(2.0)
    assert silence_s(made, 8.0) == pytest.approx(1.0)
    assert silence_s(made, 9.0) == 0.0
