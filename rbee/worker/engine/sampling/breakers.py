"""Where a repetition ends for `dry`: behind a token that completes one of a few strings.

Read from the tokens' text. llama.cpp looks for the string's own tokens instead; both see the same
where the string lies within one token, as llama.cpp's defaults do, and this one sees a string also
where the model wrote it in other tokens than the tokenizer would.
"""

from __future__ import annotations

from collections.abc import Sequence

from rbee.worker.engine.backend import Vocabulary
from rbee.worker.engine.sampling.history import Tokens

Ids = Tokens | Sequence[int]


class Breakers:
    """The strings of one request."""

    def __init__(self, strings: Sequence[str], vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._strings = [string.encode() for string in strings if string]
        self._tails = tuple({s[i:] for s in self._strings for i in range(1, len(s))})
        self._longest = max(map(len, self._strings), default=0)
        self._alone = dict.fromkeys(self._special(strings), True)

    def _special(self, strings: Sequence[str]) -> list[int]:
        """Control tokens have no text in an answer; they are found by their spelling."""
        spelled = [self._vocabulary.tokenize(s, add_special=False) for s in strings if s]
        return [ids[0] for ids in spelled if len(ids) == 1]

    def alone(self, token: int) -> bool:
        """Whether the token holds a whole breaker."""
        found = self._alone.get(token)
        if found is None:
            piece = self._vocabulary.piece(token)
            found = self._alone[token] = any(string in piece for string in self._strings)
        return found

    def since(self, ids: list[int]) -> int:
        """How many tokens stand behind the last breaker; all of them if there is none."""
        closing = {token for token in set(ids) if self.alone(token) or self._closes(token)}
        for back, token in enumerate(reversed(ids)):
            if token in closing and self.ends_at(ids, len(ids) - 1 - back):
                return back
        return len(ids)

    def ends_at(self, ids: Ids, place: int) -> bool:
        """Whether the token at `place` completes a breaker."""
        token = int(ids[place])
        return self.alone(token) or (self._closes(token) and self._straddles(ids, place))

    def _closes(self, token: int) -> bool:
        """Whether the token begins with the end of a breaker."""
        return self._longest > 1 and self._vocabulary.piece(token).startswith(self._tails)

    def _straddles(self, ids: Ids, place: int) -> bool:
        before = self._before(ids, place)
        text = before + self._vocabulary.piece(int(ids[place]))
        return any(
            text.find(string, max(0, len(before) - len(string) + 1)) >= 0
            for string in self._strings
        )

    def _before(self, ids: Ids, place: int) -> bytes:
        """As much of the text before `place` as could begin a breaker; a control token cuts it."""
        text = b""
        while place and len(text) < self._longest - 1:
            place -= 1
            piece = self._vocabulary.piece(int(ids[place]))
            if not piece:
                break
            text = piece + text
        return text
