"""A call's JSON as a call; None for everything else, so that a reader can leave it in the text."""

from __future__ import annotations

import json
import secrets
from typing import Any

from rbee.contracts.chat import FunctionCall, ToolCall

LONGEST_NAME = 256
_KEYS = ("arguments", "parameters")


def parse(text: str, index: int, key: str = "arguments") -> ToolCall | None:
    """`{"name": ..., key: {...}}` as a call. Models confuse the two keys: either is read."""
    found = decoded(text)
    if not isinstance(found, dict):
        return None
    keys = (key, *_KEYS)
    arguments = next((found[k] for k in keys if k in found), None)
    return made(found.get("name"), arguments, index)


def made(name: Any, arguments: Any, index: int) -> ToolCall | None:
    """A call of these parts, if they can be one."""
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or not _is_whole(name):
        return None
    if not (isinstance(arguments, str) and _is_whole(arguments)):
        arguments = _as_json({} if arguments is None else arguments)
    if arguments is None:
        return None
    return ToolCall(f"call_{secrets.token_hex(12)}", FunctionCall(name, arguments), index=index)


def decoded(text: str) -> Any:
    """What the JSON says; None also where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


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
