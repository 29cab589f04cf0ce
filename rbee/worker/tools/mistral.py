"""Calls behind `[TOOL_CALLS]`, in both forms of Mistral's models: a JSON array of calls, and the
newer name before its arguments. A model of one form sometimes falls back on the other, so what
follows the mark decides.
"""

from __future__ import annotations

import re

from rbee.worker.tools.calls import LONGEST_NAME, decoded, made, parse
from rbee.worker.tools.forms import ARGS, CALL_ID, MISTRAL
from rbee.worker.tools.reader import CallReader, Steps

_HEAD = re.compile(rf"([A-Za-z0-9_.-]+)\s*(?:{re.escape(CALL_ID)}[A-Za-z0-9_\s-]*)?")
"""The name before the mark of the arguments; an id may stand between them."""
_LONGEST_HEAD = 2 * LONGEST_NAME


class MistralReader(CallReader):
    def _read(self) -> Steps[None]:
        while (yield from self._text_until(MISTRAL.opening)):
            at = yield from self._past_spaces(len(MISTRAL.opening))
            if self._char(at) == "[":
                yield from self._list(at + 1)
            elif self._char(at) == "{":
                yield from self._object(at)
            else:
                yield from self._named(at)

    def _list(self, at: int) -> Steps[None]:
        """Calls one after the other, each reported when it is complete. What is no call is said,
        and ends the list."""
        while True:
            at = yield from self._past_spaces(at)
            if self._char(at) != "{":
                self._say(self._start + at)
                return
            if not (yield from self._object(at)):
                return
            at = yield from self._past_spaces(0)
            if self._char(at) != ",":
                self._start += at + 1 if self._char(at) == "]" else 0
                return
            at += 1

    def _object(self, at: int) -> Steps[bool]:
        end = yield from self._value_end(at)
        if end < 0:
            return self._take(None, len(self._held))
        return self._take(parse(self._part(at, end), self.found), self._start + end)

    def _named(self, at: int) -> Steps[None]:
        """A name and its arguments; if it is none, the mark is said and reading goes on there."""
        head = yield from self._head(at)
        match = _HEAD.fullmatch(head or "")
        begin = at
        if head is not None and match is not None:
            begin = yield from self._past_spaces(at + len(head) + len(ARGS))
        if match is None or self._char(begin) != "{":
            self._say(self._start + at)
            return
        end = yield from self._value_end(begin)
        arguments = decoded(self._part(begin, end)) if end >= 0 else None
        call = made(match[1], arguments, self.found) if isinstance(arguments, dict) else None
        self._take(call, self._start + end if end >= 0 else len(self._held))

    def _head(self, at: int) -> Steps[str | None]:
        """What stands before the mark of the arguments, if that comes soon enough."""
        while True:
            head, found, _ = self._part(at, at + _LONGEST_HEAD).partition(ARGS)
            if found:
                return head
            if self._ended or len(self._held) - self._start - at >= _LONGEST_HEAD:
                return None
            yield from self._more()
