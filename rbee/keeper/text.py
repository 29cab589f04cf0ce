"""Text that came from elsewhere, made harmless for a terminal. Pure."""

from __future__ import annotations

_PICTURES = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}
_TABLE = {**_PICTURES, 0x7F: "\u2421", **dict.fromkeys(range(0x80, 0xA0), "\ufffd")}


def clean(text: str) -> str:
    """`text` with control characters replaced by visible ones, but for newlines and tabs.

    A model or a server could otherwise move the cursor, set the title or write the clipboard.
    """
    return text.translate(_TABLE)


def line(text: str) -> str:
    """`text` cleaned and on one line."""
    return clean(text).replace("\n", " ").replace("\t", " ")
