"""Long texts, cut where a special mark begins, because llama.cpp takes time by the square of them.

From every piece between two marks it searches for each kind of mark to the end of the whole text:
a megabyte of `<|im_end|>` takes it a minute, and eight of them an hour. A mark is a token whatever
stands around it, so that the parts of a text cut before one become the same tokens as the whole.
Marks that swallow the white space before them are no places to cut. Knows no model.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

LONG = 16_384
"""Characters up to which a text is left whole: a few milliseconds at worst."""
STRIDE = 256
"""Marks in a part: fewer calls, or shorter ones."""
_LONGEST_MARK = 64


def finder(marks: Iterable[str]) -> re.Pattern[str] | None:
    """Finds the marks in a text, the longest where several begin; None when there are none."""
    known = sorted({mark for mark in marks if 0 < len(mark) <= _LONGEST_MARK})
    return re.compile(_tree(known)) if known else None


def parts(text: str, marks: re.Pattern[str] | None) -> Iterator[str]:
    """The text in order, whole or in parts that each begin with a mark, but for the first."""
    start = 0
    if marks is not None and len(text) > LONG:
        for number, found in enumerate(marks.finditer(text)):
            if number % STRIDE == STRIDE - 1:
                yield text[start : found.start()]
                start = found.start()
    yield text[start:]


def _tree(words: list[str]) -> str:
    """A pattern in which each character is looked at once, however many words there are."""
    if len(words) == 1:
        return re.escape(words[0])
    pairs = zip(words[0], words[-1], strict=False)  # the first and the last, in order, differ most
    shared = next((n for n, (a, b) in enumerate(pairs) if a != b), len(words[0]))
    branches: dict[str, list[str]] = defaultdict(list)
    for word in words:
        branches[word[shared : shared + 1]].append(word[shared:])
    ends_here = "?" if branches.pop("", None) else ""
    inner = "|".join(map(_tree, branches.values()))
    return f"{re.escape(words[0][:shared])}(?:{inner}){ends_here}"
