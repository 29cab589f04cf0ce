"""Bare JSON is a call only where an answer begins with it, and only of a tool that was offered."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.worker.tools.forms import PYTHON_TAG
from rbee.worker.tools.llama3 import Llama3Reader
from tests.worker.cuts import cut, cuts
from tests.worker.tools.reads import Found, read

CALL = '{"name": "f", "parameters": {"x": {"y": [1, "}; {"]}}}'
OTHER = '{"name": "unknown", "parameters": {}}'
PIECES = st.sampled_from(
    [
        "",
        "a",
        " ",
        "\n",
        ";",
        "; ",
        "{",
        "}",
        '"',
        "\\",
        PYTHON_TAG,
        "<|pyt",
        CALL,
        CALL[:-1],
        OTHER,
    ]
)


def reads(*pieces: str) -> Found:
    return read(lambda: Llama3Reader(frozenset({"f", "g"})), pieces)


@given(st.lists(PIECES, max_size=7).map("".join), st.lists(st.integers(0, 300), max_size=40))
def test_any_cutting_gives_the_same_text_and_calls(text: str, at: list[int]) -> None:
    assert reads(*cut(text, at)) == reads(text) == reads(*text)


@given(st.sampled_from(["", " ", "\n", PYTHON_TAG, f"\n{PYTHON_TAG} "]), cuts())
def test_calls_begin_the_answer_and_text_may_follow(before: str, at: list[int]) -> None:
    said, calls = reads(*cut(f"{before}{CALL}; {CALL}\nThat is it; really.\n", at))
    assert said == "\nThat is it; really." and [name for name, _ in calls] == ["f", "f"]
    assert json.loads(calls[1][1]) == {"x": {"y": [1, "}; {"]}}


@given(st.text(max_size=20), st.text(max_size=20), cuts())
def test_whatever_the_strings_of_a_call_hold_it_is_read(
    key: str, value: str, at: list[int]
) -> None:
    inside = json.dumps({"name": "g", "parameters": {key: value}}, ensure_ascii=False)
    said, [(_, arguments)] = reads(*cut(inside, at))
    assert said == "" and json.loads(arguments) == {key: value}


@pytest.mark.parametrize(
    "text",
    [
        OTHER,
        f"Sure: {CALL}",
        '{"name": "f", "parameters": {"x": 1}',
        '{"name": "f" "parameters": {}}',
        '{"answer": {"name": "f"}}',
        "{}",
        "{oops} and more",
        "[1, 2]",
        '"f"',
        f"{PYTHON_TAG}print(1)",
        PYTHON_TAG[:-3],
        PYTHON_TAG,
        " \n ",
        "{" * 10_000,
    ],
)
@pytest.mark.parametrize("at", [[], list(range(90))])
def test_what_is_no_call_stays_text(text: str, at: list[int]) -> None:
    assert reads(*cut(text, at)) == (text, [])


def test_after_a_call_the_first_thing_that_is_none_is_text() -> None:
    assert reads(f"{CALL}; {OTHER}; {CALL}")[0] == f"; {OTHER}; {CALL}"
    assert reads(f"{CALL}; and so on") == ("; and so on", [("f", '{"x": {"y": [1, "}; {"]}}')])


def test_a_call_is_told_when_it_is_complete_and_text_at_once() -> None:
    reader = Llama3Reader(frozenset("f"))
    assert reader.feed(CALL[:-1]) == ("", [])
    assert len(reader.feed("}")[1]) == 1
    reader = Llama3Reader(frozenset("f"))
    assert reader.feed("S") == ("S", [])


def test_after_the_only_call_wanted_nothing_is_said() -> None:
    said, calls = read(lambda: Llama3Reader(frozenset("f"), several=False), [f"{CALL}; {CALL} and"])
    assert said == "" and len(calls) == 1
