"""A long answer that is known beforehand to the last byte, and a reader who acts in its middle.

A grammar forces the text: whoever goes on with it, and however that one's numbers were rounded, the
whole is the same. What is lost or said twice shows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rbee.contracts.events import AnyEvent, Done, Token

COUNT = " ".join(map(str, range(1, 161)))
"""Some 550 tokens: a second, in which something can happen to it."""
PROMPT = "I count:"
COUNTING: dict[str, Any] = {"model": "bee", "temperature": 0.0, "grammar": f'root ::= "{COUNT}"'}
EARLY = 5
"""Tokens, after which it certainly runs, and is not nearly done."""


class Counted:
    """Notes the answer's events, and has something done when a few tokens have come."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.seen: list[AnyEvent] = []
        self._act: Callable[[], object] | None = act

    def feed(self, event: AnyEvent) -> None:
        self.seen.append(event)
        if self._act is not None and len(self.tokens) >= EARLY:
            act, self._act = self._act, None
            act()

    @property
    def tokens(self) -> list[Token]:
        return [event for event in self.seen if isinstance(event, Token)]

    def done(self) -> Done:
        """How it ended; all of it was said, once."""
        assert self._act is None
        last = self.seen[-1]
        assert isinstance(last, Done), last
        assert last.finish_reason == "stop"
        assert "".join(token.text for token in self.tokens) == COUNT
        due = 0
        for token in self.tokens:
            assert token.index == due, "a token is missing, or came twice"
            due += len(token.token_ids)
        assert due == last.usage.completion_tokens
        return last
