"""What the readers of all forms share: text that comes in pieces, read as if it came at once.

1. A reader is a generator that reads from top to bottom and yields where it needs more text. What
   it finds depends on the whole text alone, never on how tokens cut it.
2. Nothing that the model said is lost: what begins like a call and is none is said as text. Only
   white space around calls is dropped.
3. Text that was looked at once is not looked at again, so that no answer, however contrived, costs
   more than its length.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import TypeVar

from rbee.contracts.chat import ToolCall
from rbee.worker.engine.text import overlap

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Yields when it needs more text; returns what it found."""
_BRACKETS = re.compile(r'["{}\[\]]')
_QUOTED = re.compile(r'["\\]')


class CallReader(ABC):
    """Feeds on text; gives back (text that is no call, calls that are complete). Where not
    `several` calls are wanted, nothing is given back that comes after the first one."""

    def __init__(self, several: bool = True) -> None:
        self._several = several
        self.found = 0
        """Calls so far."""
        self._held = ""
        """What came and is neither said nor dropped yet, but for what stands before `_start`."""
        self._start = 0
        self._gap = ""
        """White space before a mark: dropped if a call follows, said if none does."""
        self._ended = False
        self._said: list[str] = []
        self._calls: list[ToolCall] = []
        self._run = self._read()

    def feed(self, text: str, *, final: bool = False) -> tuple[str, list[ToolCall]]:
        if not self.complete:
            self._held += text
            self._ended = final
            next(self._run, None)
        said, calls = "".join(self._said), self._calls
        self._said, self._calls = [], []
        return said, calls

    @property
    def complete(self) -> bool:
        """Nothing that comes is wanted."""
        return self.found > 0 and not self._several

    @abstractmethod
    def _read(self) -> Steps[None]:
        """Read everything; returns at the end of the answer."""

    def _say(self, end: int) -> None:
        if not self.complete:
            self._said.append(self._gap + self._held[self._start : end])
        self._start, self._gap = end, ""

    def _take(self, call: ToolCall | None, end: int) -> bool:
        """Report what was read up to `end`: as a call, or as the text it is."""
        if call is None:
            self._say(end)
            return False
        if not self.complete:
            self.found += 1
            self._calls.append(call)
        self._start, self._gap = end, ""
        return True

    def _more(self) -> Steps[None]:
        """Wait for more text; positions count from `_start` = 0 afterwards."""
        if self._start:
            self._held = self._held[self._start :]
            self._start = 0
        yield

    def _text_until(self, mark: str) -> Steps[bool]:
        """Say everything before the next mark; False when the answer ends without one."""
        while True:
            at = self._held.find(mark, self._start)
            if at >= 0:
                self._say_words(at)
                self._start, self._gap = at, self._held[self._start : at]
                return True
            if self._ended:
                self._say_words(len(self._held))
                self._start = len(self._held)
                return False
            self._say_words(len(self._held) - overlap(self._held, mark))
            yield from self._more()

    def _say_words(self, end: int) -> None:
        """After the first call, white space is only said when words follow it: what stands between
        calls and after the last one is no content."""
        text = self._held[self._start : end]
        self._say(self._start + len(text.rstrip() if self.found else text))

    def _past_spaces(self, at: int) -> Steps[int]:
        """The position, counted from `_start`, of the next character that is no white space; the
        end of the answer when there is none."""
        while True:
            while self._start + at < len(self._held):
                if not self._held[self._start + at].isspace():
                    return at
                at += 1
            if self._ended:
                return at
            yield from self._more()

    def _value_end(self, at: int) -> Steps[int]:
        """The position behind the JSON object or array that begins at `at`, both counted from
        `_start`; -1 when the answer ends inside it."""
        nesting = Nesting()
        while True:
            end = nesting.end_in(self._held, self._start + at, len(self._held))
            if end >= 0:
                return end - self._start
            if self._ended:
                return -1
            at = len(self._held) - self._start
            yield from self._more()

    def _char(self, at: int) -> str:
        return self._held[self._start + at : self._start + at + 1]

    def _part(self, begin: int, end: int) -> str:
        return self._held[self._start + begin : self._start + end]


class Nesting:
    """Where a JSON value ends, in text that comes in pieces: brackets counted outside strings."""

    def __init__(self) -> None:
        self._depth = 0
        self._escaped = False
        self.quoted = False
        """Inside a string."""

    def end_in(self, text: str, at: int, stop: int) -> int:
        """Read on from `at` to `stop`; the position behind the last bracket, or -1."""
        while at < stop:
            if self._escaped:
                self._escaped = False
                at += 1
                continue
            mark = (_QUOTED if self.quoted else _BRACKETS).search(text, at, stop)
            if mark is None:
                return -1
            at = mark.end()
            if self._turn(mark[0]):
                return at
        return -1

    def skip(self, text: str, at: int, stop: int) -> None:
        """Read on from `at` to `stop`, whatever ends in between."""
        while at >= 0:
            at = self.end_in(text, at, stop)

    def _turn(self, mark: str) -> bool:
        """Take one mark in; True when it closes the value."""
        if mark == '"':
            self.quoted = not self.quoted
        elif mark == "\\":
            self._escaped = True
        else:
            self._depth += 1 if mark in "{[" else -1
            return self._depth <= 0
        return False
