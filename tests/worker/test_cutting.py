"""A long text's tokens are the same in parts, and come in time by its length."""

from __future__ import annotations

import random
import re
import time

from hypothesis import given
from hypothesis import strategies as st

from rbee.worker.engine.llama.cutting import LONG, STRIDE, finder, parts
from tests.worker.guides import vocabulary

MARKS = ["<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"]
BITS = [*MARKS, "<|", "|>", "<|im_", "user\n", "hello ", " ", "\n\n", "é", "12"]
words = st.text("ab<|>", max_size=4)


@given(st.lists(words, min_size=1), st.text("ab<|>", max_size=40))
def test_marks_are_found_as_a_plain_list_of_them_would_be(marks: list[str], text: str) -> None:
    known = sorted({mark for mark in marks if mark}, key=len, reverse=True)
    made = finder(marks)
    if made is None:
        assert not known
        return
    assert made.findall(text) == re.findall("|".join(map(re.escape, known)), text)


def test_parts_are_the_text_and_begin_with_marks() -> None:
    text = "".join(random.Random(1).choices(BITS, k=LONG))
    found = list(parts(text, finder(MARKS)))
    assert "".join(found) == text and len(found) > 3
    assert all(part.startswith(tuple(MARKS)) for part in found[1:])
    assert list(parts(text, None)) == [text]
    assert list(parts("<|im_end|>" * STRIDE, finder(MARKS))) == ["<|im_end|>" * STRIDE]


def test_the_tokens_are_those_of_the_whole() -> None:
    known = vocabulary()
    for number in range(4):
        text = "".join(random.Random(number).choices(BITS, k=6_000))
        for special in (True, False):
            whole = known._ids(text, special, spelled=True)
            assert known.tokenize(text, add_special=special) == whole


def test_a_megabyte_of_marks_takes_no_minute() -> None:
    began = time.monotonic()
    assert len(vocabulary().tokenize("<|im_end|>" * 100_000, add_special=True)) == 100_000
    assert time.monotonic() - began < 5
