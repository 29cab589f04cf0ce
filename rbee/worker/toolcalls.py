"""Tool calls in the model's text: found, taken out, and handed on as calls.

The form is Hermes' (also Qwen's, and what `bee` speaks): `<tool_call>` JSON `</tool_call>`. What
looks like a call but is no JSON with a name stays text: nothing that the model said is lost.
"""

from __future__ import annotations

import json
import secrets

from rbee.contracts.chat import FunctionCall, ToolCall
from rbee.worker.engine.text import overlap

OPENING, CLOSING = "<tool_call>", "</tool_call>"


class ToolCallReader:
    """Feeds on text; gives back (text that is no call, calls that are complete)."""

    def __init__(self) -> None:
        self._held = ""
        self._inside = False
        self.found = 0

    def feed(self, text: str, *, final: bool = False) -> tuple[str, list[ToolCall]]:
        self._held += text
        said: list[str] = []
        calls: list[ToolCall] = []
        while self._advance(said, calls):
            pass
        if final:
            said.append(self._flush(calls))
        return "".join(said), calls

    def _advance(self, said: list[str], calls: list[ToolCall]) -> bool:
        """Handle what is held up to the next mark; False when more text is needed."""
        mark = CLOSING if self._inside else OPENING
        before, found, after = self._held.partition(mark)
        if found:
            self._held = after
            if self._inside:
                self._take(before, OPENING + before + CLOSING, said, calls)
            else:
                said.append(self._without_tail(before))
            self._inside = not self._inside
            return True
        if not self._inside:
            keep = overlap(self._held, mark)
            certain = self._without_tail(self._held[: len(self._held) - keep])
            said.append(certain)
            self._held = self._held[len(certain) :]
        return False

    def _without_tail(self, text: str) -> str:
        """After the first call, white space is only said when words follow it: what stands between
        calls and after the last one is no content."""
        return text.rstrip() if self.found else text

    def _take(self, inside: str, raw: str, said: list[str], calls: list[ToolCall]) -> None:
        call = parse(inside, self.found)
        if call is None:
            said.append(raw)
        else:
            self.found += 1
            calls.append(call)

    def _flush(self, calls: list[ToolCall]) -> str:
        """The end of the answer: an unfinished call may still be whole JSON."""
        rest, self._held = self._held, ""
        if self._inside:
            self._inside = False
            call = parse(rest, self.found)
            if call is not None:
                self.found += 1
                calls.append(call)
                return ""
            return OPENING + rest
        return self._without_tail(rest)


def parse(text: str, index: int) -> ToolCall | None:
    """`{"name": ..., "arguments": {...}}` as a call; None when it is anything else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("name"), str) or not found["name"]:
        return None
    name, arguments = found["name"][:256], found.get("arguments", {})
    if not (isinstance(arguments, str) and _is_whole(arguments)):
        arguments = _as_json(arguments)
    if not _is_whole(name) or arguments is None:
        return None
    return ToolCall(f"call_{secrets.token_hex(12)}", FunctionCall(name, arguments), index=index)


def _as_json(value: object) -> str | None:
    """As it would be read, but for half of a surrogate pair: that only stays inside an escape."""
    try:
        text = json.dumps(value, ensure_ascii=False)
        return text if _is_whole(text) else json.dumps(value)
    except RecursionError:  # writing gives up a little before reading does
        return None


def _is_whole(text: str) -> bool:
    """Whether UTF-8 can say it: JSON's escapes can name half a character, which it cannot."""
    return not any("\ud800" <= c <= "\udfff" for c in text)
