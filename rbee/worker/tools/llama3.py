"""Calls as bare JSON, `{"name": ..., "parameters": {...}}; {...}`: Llama 3.

There is no mark to look for, so an answer is only taken for calls when it begins with one: with an
object that names a tool that was offered. Everything from the first thing that is no call is text.
"""

from __future__ import annotations

from rbee.contracts.chat import ToolCall
from rbee.worker.tools.calls import parse
from rbee.worker.tools.forms import LLAMA3, PYTHON_TAG
from rbee.worker.tools.reader import CallReader, Steps


class Llama3Reader(CallReader):
    def __init__(self, offered: frozenset[str], several: bool = True) -> None:
        super().__init__(several)
        self._offered = offered

    def _read(self) -> Steps[None]:
        at = yield from self._past_tag()
        while (yield from self._call(at)):
            at = yield from self._past_spaces(0)
            if self._char(at) == ";":
                at = yield from self._past_spaces(at + 1)
        while True:
            self._say_words(len(self._held))
            if self._ended:
                return
            yield from self._more()

    def _past_tag(self) -> Steps[int]:
        """Where the first object would begin: behind the tag, if there is one."""
        at = yield from self._past_spaces(0)
        behind = at + len(PYTHON_TAG)
        while not self._ended and PYTHON_TAG.startswith(self._part(at, behind)):
            if self._part(at, behind) == PYTHON_TAG:
                break
            yield from self._more()
        if self._part(at, behind) == PYTHON_TAG:
            at = yield from self._past_spaces(behind)
        return at

    def _call(self, at: int) -> Steps[bool]:
        """Take the call that begins at `at`; False, and nothing said, when none does."""
        if self._char(at) != "{":
            return False
        end = yield from self._value_end(at)
        call = parse(self._part(at, end), self.found, LLAMA3.arguments_key) if end >= 0 else None
        return self._named(call) and self._take(call, self._start + end)

    def _named(self, call: ToolCall | None) -> bool:
        return call is not None and call.function.name in self._offered
