"""What is thought and what is said are told apart, however the text was cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.worker.reasoning import KNOWN, Marks, ReasoningReader, is_open, marks_of
from tests.worker.cuts import cut, cuts

THINK = KNOWN[0]
PIECES = st.sampled_from(
    ["", "a", " ", "\n", "<", "<thi", "</", "</think", *("<think>", "</think>"), "é"]
)


def read(pieces: list[str], *, inside: bool = False, marks: Marks = THINK) -> tuple[str, str]:
    reader = ReasoningReader(marks, inside)
    fed = [reader.feed(piece) for piece in pieces]
    fed.append(reader.feed("", final=True))
    return "".join(thought for thought, _ in fed), "".join(said for _, said in fed)


@given(st.lists(PIECES, max_size=8).map("".join), st.booleans(), st.lists(st.integers(0, 90)))
def test_any_cutting_gives_the_same(text: str, inside: bool, at: list[int]) -> None:
    assert read(cut(text, at), inside=inside) == read([text], inside=inside)
    assert read(list(text), inside=inside) == read([text], inside=inside)


@pytest.mark.parametrize("marks", KNOWN)
@given(cuts())
def test_a_span_is_taken_out(marks: Marks, at: list[int]) -> None:
    text = f"\n{marks.opening}\n one\n\ntwo \n{marks.closing}\n\nThree.\n"
    assert read(cut(text, at), marks=marks) == (" one\n\ntwo ", "Three.\n")


@given(cuts())
def test_a_prompt_may_have_opened_it(at: list[int]) -> None:
    assert read(cut("\none\n</think>\n\ntwo", at), inside=True) == ("one", "two")


@given(st.text("<think/> \n", max_size=30), cuts())
def test_without_a_span_all_is_said_as_it_is(text: str, at: list[int]) -> None:
    if "<think>" not in text:
        assert read(cut(text, at)) == ("", text)


@pytest.mark.parametrize(
    ("text", "thought", "said"),
    [
        ("Use <think>x</think> tags", "", "Use <think>x</think> tags"),
        ("<think></think>ok", "", "ok"),
        ("<think>\n\n</think>\n\nok", "", "ok"),
        ("<think>a</think>\n<think>b</think>c", "ab", "c"),
        ("<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
        ("<think>a </thi", "a </thi", ""),
        ("<think>never ends\n", "never ends", ""),
        ("<thi", "", "<thi"),
        ("</think>ok", "", "</think>ok"),
        ("<think>a</think>\n\n", "a", ""),
    ],
)
@pytest.mark.parametrize("at", [[], list(range(60))])
def test_where_spans_count(text: str, thought: str, said: str, at: list[int]) -> None:
    assert read(cut(text, at)) == (thought, said)


def test_thoughts_are_told_as_they_come() -> None:
    reader = ReasoningReader(THINK, inside=True)
    assert reader.feed("\nlet me </th") == ("let me ", "")
    assert reader.feed("ink") == ("", "") and reader.inside
    assert reader.feed(">so") == ("", "so") and not reader.inside
    assert reader.feed(" <think>") == ("", " <think>")


@pytest.mark.parametrize(
    ("template", "marks"),
    [
        ("{{ '<think>\n' }}", THINK),
        ("{% set content = content.split('</think>')[-1] %}", THINK),
        ("{{ '<|START_THINKING|>' }}", KNOWN[1]),
        ("{{ '[THINK]' }}", KNOWN[2]),
        ("{{ messages }} I think", None),
    ],
)
def test_the_template_knows_the_marks(template: str, marks: Marks | None) -> None:
    assert marks_of(template) == marks


def test_only_a_mark_at_the_end_of_the_prompt_is_open() -> None:
    assert is_open("<|assistant|>\n<think>\n", THINK)
    assert not is_open("<|user|>what is <think>?<|assistant|>\n", THINK)
    assert not is_open("<|assistant|>\n<think>\n\n</think>\n\n", THINK)
