"""llguidance's view of a model's vocabulary: which bytes each token stands for, which are special.

llguidance asks the tokenizer how forced text is best cut into tokens. llama.cpp's own answer names
tokens such as `<tool_call>` wherever their spelling occurs, also when asked not to. Here text is
only text: a special token can be demanded by its number, never by chance.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import llama_cpp as c
from llguidance import LLTokenizer

_NEVER_TEXT = c.LLAMA_TOKEN_ATTR_CONTROL | c.LLAMA_TOKEN_ATTR_UNKNOWN | c.LLAMA_TOKEN_ATTR_UNUSED


def make(vocabulary: Any, ends: Sequence[int]) -> LLTokenizer:
    """About a second for 150,000 tokens. `ends` are the tokens that may close an answer."""
    spelled = [_spelling(vocabulary, t) for t in range(c.llama_vocab_n_tokens(vocabulary))]
    special = [t for t, text in enumerate(spelled) if _is_special(vocabulary, t, text)]
    first = c.llama_vocab_eos(vocabulary)
    closing = sorted(ends, key=lambda token: token != first)
    cut = _PlainText(vocabulary, [spelled[token] for token in special])
    return LLTokenizer(
        _Vocabulary(spelled, special, closing[0] if closing else None, cut),  # type: ignore[arg-type]
        eos_token=closing or None,
    )


def _spelling(vocabulary: Any, token: int) -> bytes:
    buffer = ctypes.create_string_buffer(256)
    count = c.llama_token_to_piece(vocabulary, token, buffer, len(buffer), 0, True)
    if count < 0:
        buffer = ctypes.create_string_buffer(-count)
        count = c.llama_token_to_piece(vocabulary, token, buffer, len(buffer), 0, True)
    return buffer.raw[:count]


def _is_special(vocabulary: Any, token: int, spelled: bytes) -> bool:
    """Marks that a person added to a vocabulary (`<tool_call>`) are special too, whatever llama.cpp
    thinks of them: to the model they are no text."""
    kind = c.llama_vocab_get_attr(vocabulary, token)
    added = kind & c.LLAMA_TOKEN_ATTR_USER_DEFINED and spelled[:1] == b"<" and spelled[-1:] == b">"
    return bool(kind & _NEVER_TEXT or added)


class _Vocabulary:
    """The shape in which llguidance takes a vocabulary written in Python."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(
        self,
        tokens: list[bytes],
        special: list[int],
        end: int | None,
        cut: Callable[[str], list[int]],
    ) -> None:
        self.tokens, self.special_token_ids, self.eos_token_id = tokens, special, end
        self._cut = cut

    def __call__(self, text: str) -> list[int]:
        return self._cut(text)


class _PlainText:
    """Text to tokens, none of them special. Called from any thread; must not raise."""

    def __init__(self, vocabulary: Any, special: Sequence[bytes]) -> None:
        self._vocabulary = vocabulary
        marks = sorted({s.decode("utf-8", "replace") for s in special if len(s) > 1})
        spelled = "|".join(re.escape(mark) for mark in marks)
        self._marks = re.compile(f"(?={spelled})") if marks else None
        self._sentinel = self._needed_sentinel()

    def __call__(self, text: str) -> list[int]:
        return [token for part in self._parts(text) for token in self._tokens(part)]

    def _parts(self, text: str) -> Iterator[str]:
        """Cut behind the first character of every mark, so that none is whole."""
        start = 0
        for found in self._marks.finditer(text) if self._marks else ():
            yield text[start : found.start() + 1]
            start = found.start() + 1
        yield text[start:]

    def _tokens(self, text: str) -> list[int]:
        if not text:
            return []
        if not self._sentinel:
            return self._raw(text)
        return self._raw(self._sentinel + text)[len(self._raw(self._sentinel)) :]

    def _needed_sentinel(self) -> str:
        """SentencePiece writes a space before every text; not behind a character that joins with
        nothing, though."""
        if self._spelled(self._raw("a")) == b"a":
            return ""
        for sentinel in map(chr, range(1, 32)):
            alone, joined = self._raw(sentinel), self._raw(sentinel + "a")
            if joined[: len(alone)] == alone and self._spelled(joined[len(alone) :]) == b"a":
                return sentinel
        return ""

    def _spelled(self, tokens: Sequence[int]) -> bytes:
        return b"".join(_spelling(self._vocabulary, token) for token in tokens)

    def _raw(self, text: str) -> list[int]:
        raw = text.encode()
        room = len(raw) + 16
        ids = (c.llama_token * room)()
        count = c.llama_tokenize(self._vocabulary, raw, len(raw), ids, room, False, False)
        return list(ids[: max(count, 0)])
