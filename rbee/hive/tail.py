"""The last lines a child wrote, bounded in number and length; over all its lives."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

LINES = 50
LINE_CHARS = 400
MAX_LINE_BYTES = 64 * 1024


class Tail:
    """Keeps the newest `LINES` lines."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=LINES)
        self._before: list[str] = []

    def begin(self, pid: int) -> None:
        """A new life; its lines are told from those of the last."""
        self._before = [*self._before, *self._lines][-LINES:]
        self._lines.clear()
        if self._before:
            self._lines.append(f"--- process {pid} ---")

    def add(self, line: str) -> None:
        self._lines.append(line if len(line) <= LINE_CHARS else line[:LINE_CHARS] + "...")

    def lines(self) -> list[str]:
        return [*self._before, *self._lines][-LINES:]

    def last(self, count: int = 5, words: Callable[[str], bool] = bool) -> str:
        """The newest lines of this life that are `words`, as one text, for a message."""
        return " | ".join([line for line in self._lines if words(line)][-count:])

    def first_error(self) -> str:
        """What the first line logged as an error says (`rbee.log`'s format); it is the cause of
        those after it."""
        for line in self._lines:
            _, found, said = line.partition(" ERROR ")
            if found:
                return said.partition(": ")[2].strip() or said.strip()
        return ""


class LineReader:
    """Cuts a byte stream into lines; one that is longer than the bound is cut there."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[str]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            yield _clean(line)

    def rest(self) -> Iterator[str]:
        """What was left without an end of line."""
        if self._rest:
            yield _clean(self._rest)
        self._rest = b""


def _clean(line: bytes) -> str:
    """Printable text: what a child writes must not steer the terminal of who reads it."""
    text = line[:MAX_LINE_BYTES].decode("utf-8", "replace").rstrip()
    return "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in text)
