"""Both forms of Mistral's models, behind their mark."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.worker.tools.mistral import MistralReader
from tests.worker.cuts import cut, cuts
from tests.worker.tools.reads import Found, read

ONE = '{"name": "f", "arguments": {"x": "] } ["}}'
LIST = f"[TOOL_CALLS] [{ONE}, {ONE}]"
NAMED = '[TOOL_CALLS]g[ARGS]{"x": "] } ["}'
PIECES = st.sampled_from(
    [
        *("", "a", " ", "\n", "[", "]", ",", "{", "}", '"', "\\", "é"),
        *("[TOOL_CALLS]", "[TOOL", "[ARGS]", "[CALL_ID]", ONE, LIST, NAMED, LIST[:-1], NAMED[:-1]),
    ]
)


def reads(*pieces: str) -> Found:
    return read(MistralReader, pieces)


@given(st.lists(PIECES, max_size=7).map("".join), st.lists(st.integers(0, 500), max_size=40))
def test_any_cutting_gives_the_same_text_and_calls(text: str, at: list[int]) -> None:
    assert reads(*cut(text, at)) == reads(text) == reads(*text)


@pytest.mark.parametrize(
    "calls",
    [
        LIST,
        f"[TOOL_CALLS][{ONE},\n{ONE}\n]",
        f"[TOOL_CALLS]{ONE}[TOOL_CALLS] {ONE}",
        '[TOOL_CALLS]f[ARGS]{"x": "] } ["}[TOOL_CALLS]f[ARGS]{"x": "] } ["}',
        '[TOOL_CALLS]f[CALL_ID]123456789[ARGS]{"x": "] } ["}\n[TOOL_CALLS] f [ARGS] {"x": "] } ["}',
    ],
)
@given(cuts())
def test_every_form_is_read(calls: str, at: list[int]) -> None:
    said, found = reads(*cut(f"So: {calls} \n", at))
    assert said == "So: " and found == [("f", '{"x": "] } ["}')] * 2


@given(st.text(max_size=20), st.text(max_size=20), st.booleans(), cuts())
def test_whatever_the_strings_of_a_call_hold_it_is_read(
    key: str, value: str, listed: bool, at: list[int]
) -> None:
    arguments = json.dumps({key: value}, ensure_ascii=False)
    inside = f'[{{"name": "f", "arguments": {arguments}}}]' if listed else f"f[ARGS]{arguments}"
    said, [(_, found)] = reads(*cut(f"[TOOL_CALLS]{inside}", at))
    assert said == "" and json.loads(found) == {key: value}


@pytest.mark.parametrize(
    "text",
    [
        "[TOOL_CALLS]",
        "[TOOL_CALLS] ",
        "[TOOL_CALLS] and so on",
        "[TOOL_CALLS] []",
        '[TOOL_CALLS] [{"name": "f", "argu',
        '[TOOL_CALLS] [{"arguments": {}}]',
        "[TOOL_CALLS] [1]",
        '[TOOL_CALLS]f[ARGS]{"x": 1',
        "[TOOL_CALLS]f[ARGS]7",
        "[TOOL_CALLS]f[ARGS]{oops}",
        "[TOOL_CALLS]two words[ARGS]{}",
        "[TOOL_CALLS]" + "n" * 600 + "[ARGS]{}",
        "[TOOL_CALLS]" + "n" * 300 + "[ARGS]{}",
        "[TOOL_CALLS][TOOL_CALLS]",
        "[ARGS]{}",
    ],
)
@pytest.mark.parametrize("at", [[], list(range(90))])
def test_what_is_no_call_stays_text(text: str, at: list[int]) -> None:
    assert reads(*cut(text, at)) == (text, [])


def test_what_breaks_a_list_is_text_from_there() -> None:
    said, calls = reads(f'[TOOL_CALLS] [{ONE}, {{"oops": 1}}] ok {NAMED}')
    assert said == ', {"oops": 1}] ok' and [name for name, _ in calls] == ["f", "g"]


def test_the_calls_of_a_list_come_one_by_one() -> None:
    reader = MistralReader()
    assert len(reader.feed(f"[TOOL_CALLS] [{ONE}")[1]) == 1
    assert len(reader.feed(f", {ONE}")[1]) == 1


def test_after_the_only_call_wanted_nothing_is_said() -> None:
    said, calls = read(lambda: MistralReader(several=False), [f"a {LIST} b", "c"])
    assert said == "a " and len(calls) == 1


@pytest.mark.parametrize(
    "block", ["[TOOL_CALLS]", '[TOOL_CALLS][{"', "[TOOL_CALLS]n[ARGS]", "[TOOL_CALLS]{}"]
)
def test_no_answer_costs_more_than_its_length(block: str) -> None:
    text = block * 20_000
    began = time.monotonic()
    assert reads(text) == (text, [])
    assert time.monotonic() - began < 10
