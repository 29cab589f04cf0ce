"""Calls between marks are found in text however it was cut; what is no call stays text."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.worker.tools.hermes import MOST_CLOSINGS, HermesReader
from tests.worker.cuts import cut, cuts
from tests.worker.tools.reads import Found, read

CALL = '<tool_call>\n{"name": "f", "arguments": {"x": {"y": [1, "}"]}}}\n</tool_call>'
QUOTING = '<tool_call>{"name": "f", "arguments": {"x": "\\"</tool_call>\\\\"}}</tool_call>'
PIECES = st.sampled_from(
    [
        *("", "a", "b ", "\n", " \n ", "<", "<tool", '"', "\\", "ü🐝"),
        *("</tool_call>", "<tool_call>", CALL, CALL[:-5], QUOTING, QUOTING[:-13]),
    ]
)


def reads(*pieces: str) -> Found:
    return read(HermesReader, pieces)


@given(st.lists(PIECES, max_size=7).map("".join), st.lists(st.integers(0, 400), max_size=40))
def test_any_cutting_gives_the_same_text_and_calls(text: str, at: list[int]) -> None:
    assert reads(*cut(text, at)) == reads(text) == reads(*text)


@given(st.text("<a>\n {}", max_size=30), cuts())
def test_text_without_a_call_is_said_as_it_is(text: str, at: list[int]) -> None:
    assert reads(*cut(text, at)) == (text, [])


@given(cuts())
def test_a_call_is_taken_out_of_the_text_around_it(at: list[int]) -> None:
    said, calls = reads(*cut(f"Let me see.\n{CALL}\nand\n{CALL}done", at))
    assert said == "Let me see.\n\nanddone"
    assert [name for name, _ in calls] == ["f", "f"]
    assert json.loads(calls[0][1]) == {"x": {"y": [1, "}"]}}


@given(st.text(max_size=20), st.text(max_size=20), cuts())
def test_whatever_the_strings_of_a_call_hold_it_is_read(
    key: str, value: str, at: list[int]
) -> None:
    inside = json.dumps({"name": "f", "arguments": {key: value}}, ensure_ascii=False)
    said, calls = reads(*cut(f"<tool_call>{inside}</tool_call>", at))
    [(_, arguments)] = calls
    assert said == "" and json.loads(arguments) == {key: value}


@given(cuts())
def test_a_closing_mark_inside_a_string_closes_nothing(at: list[int]) -> None:
    said, calls = reads(*cut(QUOTING + "ok", at))
    assert said == "ok" and json.loads(calls[0][1]) == {"x": '"</tool_call>\\'}


def test_several_calls_in_a_row_leave_no_newlines_between() -> None:
    said, calls = reads(f"{CALL}\n{CALL}\n", f"\n{CALL}\n")
    assert said == "" and len(calls) == 3


@pytest.mark.parametrize(
    "inside",
    [
        "",
        "{",
        '{"name": }',
        '{"arguments": {}}',
        '{"name": ""}',
        '{"name": 7}',
        "[]",
        "null",
        '{"name": "f", "arguments": {"x": 1}',
        '{"name": "f',
        "[" * 100_000,
        '{"name": "\\ud83d"}',
        '{"name": "%s"}' % ("n" * 257),
    ],
)
def test_what_is_no_call_stays_text(inside: str) -> None:
    whole = f"see: <tool_call>{inside}</tool_call> ok"
    assert reads(whole) == (whole, [])


@pytest.mark.parametrize("broken", ["{", '{"name": "f', '"', "<tool_call>"])
def test_a_broken_call_does_not_hide_the_next_one(broken: str) -> None:
    said, calls = reads(f"<tool_call>{broken}</tool_call>{CALL}")
    assert said == f"<tool_call>{broken}</tool_call>" and len(calls) == 1


def test_an_unfinished_call_is_a_call_when_its_json_is_whole() -> None:
    assert reads('<tool_call>{"name": "f", "arguments": {}}') == ("", [("f", "{}")])
    cut_off = '<tool_call>{"name": "f", "argu'
    assert reads(cut_off) == (cut_off, [])


def test_space_before_what_is_no_call_is_kept() -> None:
    said, _ = reads(f"{CALL}a \n<tool_call>oops</tool_call>")
    assert said == "a \n<tool_call>oops</tool_call>"


def test_text_is_not_held_back_longer_than_needed() -> None:
    reader = HermesReader()
    assert reader.feed("a < b <to") == ("a < b ", [])
    assert reader.feed("uch") == ("<touch", [])


@pytest.mark.parametrize("at", [[], [10], list(range(400))])
def test_after_the_only_call_wanted_nothing_is_said(at: list[int]) -> None:
    said, calls = read(lambda: HermesReader(several=False), cut(f"a {CALL} b {CALL} c", at))
    assert said == "a " and len(calls) == 1


@pytest.mark.parametrize(
    "block",
    ["<tool_call>", '<tool_call>"\\"</tool_call>', '<tool_call>"</tool_call>', "</tool_call>"],
)
def test_no_answer_costs_more_than_its_length(block: str) -> None:
    text = block * 20_000
    began = time.monotonic()
    assert reads(text) == (text, [])
    assert time.monotonic() - began < 10 and MOST_CLOSINGS < 100
