"""Calls between marks, `<tool_call>{...}</tool_call>`: Hermes, Qwen, and what `bee` speaks."""

from __future__ import annotations

from rbee.worker.tools.calls import parse
from rbee.worker.tools.forms import HERMES
from rbee.worker.tools.reader import CallReader, Nesting, Steps

MOST_CLOSINGS = 16
"""A closing mark inside a JSON string does not close. So many are passed over, no more: an answer
of nothing but quotes and marks would else be read again and again."""


class HermesReader(CallReader):
    def _read(self) -> Steps[None]:
        while (yield from self._text_until(HERMES.opening)):
            first, end = yield from self._closing()
            behind = end + len(HERMES.closing)
            call = parse(self._part(len(HERMES.opening), end), self.found)
            if call is None and first >= 0:
                behind = first + len(HERMES.closing)
            self._take(call, min(self._start + behind, len(self._held)))

    def _closing(self) -> Steps[tuple[int, int]]:
        """Where the first closing mark stands (-1: nowhere), and the first that is outside the
        JSON's strings. At the end of the answer an unfinished call may still be whole JSON."""
        first, seen, nesting = -1, 0, Nesting()
        read = look = len(HERMES.opening)
        while True:
            found = self._held.find(HERMES.closing, self._start + look)
            if found >= 0:
                at = found - self._start
                first, seen = (at if first < 0 else first), seen + 1
                nesting.skip(self._held, self._start + read, found)
                if not nesting.quoted or seen == MOST_CLOSINGS:
                    return first, at
                read, look = at, at + 1
            elif self._ended:
                return first, len(self._held) - self._start
            else:
                look = max(look, len(self._held) - self._start - len(HERMES.closing) + 1)
                yield from self._more()
