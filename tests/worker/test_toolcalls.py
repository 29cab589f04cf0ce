"""Calls are found in text however it was cut; what is no call stays text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.worker.toolcalls import ToolCallReader, parse
from tests.worker.cuts import cut, cuts

CALL = '<tool_call>\n{"name": "f", "arguments": {"x": {"y": [1, "}"]}}}\n</tool_call>'
PIECES = st.sampled_from(
    ["", "a", "b ", "\n", " \n ", "<", "<tool", "</tool_call>", "<tool_call>", CALL, CALL[:-5]]
)
Calls = list[tuple[str, str]]


def read(pieces: list[str]) -> tuple[str, Calls]:
    reader = ToolCallReader()
    fed = [reader.feed(piece) for piece in pieces]
    fed.append(reader.feed("", final=True))
    found = [call for _, calls in fed for call in calls]
    assert [c.index for c in found] == list(range(len(found))) and reader.found == len(found)
    assert len({c.id for c in found}) == len(found)
    text = "".join(said for said, _ in fed)
    return text, [(c.function.name, c.function.arguments) for c in found]


@given(st.lists(PIECES, max_size=6).map("".join), st.lists(st.integers(0, 300), max_size=40))
def test_any_cutting_gives_the_same_text_and_calls(text: str, at: list[int]) -> None:
    assert read(cut(text, at)) == read([text]) == read(list(text))


@given(st.text("<a>\n {}", max_size=30), cuts())
def test_text_without_a_call_is_said_as_it_is(text: str, at: list[int]) -> None:
    assert read(cut(text, at)) == (text, [])


@given(cuts())
def test_a_call_is_taken_out_of_the_text_around_it(at: list[int]) -> None:
    said, calls = read(cut(f"Let me see.\n{CALL}", at))
    assert said == "Let me see.\n"
    [(name, arguments)] = calls
    assert name == "f" and json.loads(arguments) == {"x": {"y": [1, "}"]}}


def test_several_calls_in_a_row_leave_no_newlines_between() -> None:
    said, calls = read([f"{CALL}\n{CALL}\n", f"\n{CALL}\n"])
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
        "[" * 100_000,
        '{"name": "\\ud83d"}',
    ],
)
def test_what_is_no_call_stays_text(inside: str) -> None:
    whole = f"see: <tool_call>{inside}</tool_call> ok"
    assert read([whole]) == (whole, [])


def test_a_broken_call_does_not_hide_the_next_one() -> None:
    said, calls = read([f"<tool_call>{{</tool_call>{CALL}"])
    assert said == "<tool_call>{</tool_call>" and len(calls) == 1


def test_an_unfinished_call_is_a_call_when_its_json_is_whole() -> None:
    assert read(['<tool_call>{"name": "f", "arguments": {}}']) == ("", [("f", "{}")])
    cut_off = '<tool_call>{"name": "f", "argu'
    assert read([cut_off]) == (cut_off, [])


def test_text_is_not_held_back_longer_than_needed() -> None:
    reader = ToolCallReader()
    assert reader.feed("a < b <to") == ("a < b ", [])
    assert reader.feed("uch") == ("<touch", [])


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('{"name": "f"}', "{}"),
        ('{"name": "f", "arguments": "{\\"x\\": 1}"}', '{"x": 1}'),
        ('{"name": "f", "arguments": {"k": "ü"}}', '{"k": "ü"}'),
        ('{"name": "f", "arguments": {"k": "\\ud83d"}}', '{"k": "\\ud83d"}'),
        ('{"name": "f", "arguments": "\\ud83d"}', '"\\ud83d"'),
    ],
)
def test_arguments_are_json_text(text: str, arguments: str) -> None:
    found = parse(text, 0)
    assert found is not None and found.function.arguments == arguments
