"""What is known of a loaded model's tokens."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import llama_cpp as c
from llguidance import LLTokenizer

from rbee.errors import BadRequest
from rbee.worker.engine.llama import cutting, guide

_MARK = c.LLAMA_TOKEN_ATTR_CONTROL | c.LLAMA_TOKEN_ATTR_USER_DEFINED | c.LLAMA_TOKEN_ATTR_UNKNOWN
_SWALLOWS = c.LLAMA_TOKEN_ATTR_LSTRIP


class LlamaVocabulary:
    """The tokens of a loaded model; every method may be called from any thread."""

    def __init__(self, model: Any) -> None:
        self._pointer = c.llama_model_get_vocab(model)
        self.size: int = c.llama_vocab_n_tokens(self._pointer)
        self._pieces: list[bytes | None] = [None] * self.size
        self._ends: dict[int, bool] = {}
        self.adds_bos = bool(c.llama_vocab_get_add_bos(self._pointer))

    def tokenize(self, text: str, *, add_special: bool) -> list[int]:
        if len(text) <= cutting.LONG:
            return self._ids(text, add_special, spelled=True)
        around = self._ids("", add_special, spelled=True)
        ids = around[: int(self.adds_bos)]
        for part in cutting.parts(text, self._marks):
            ids += self._ids(part, False, spelled=True)
        return ids + around[int(self.adds_bos) :]

    def plain(self, text: str) -> list[int]:
        """Token ids of a text in which nothing is special."""
        return self._ids(text, False, spelled=False)

    def _ids(self, text: str, add_special: bool, *, spelled: bool) -> list[int]:
        raw = text.encode()
        room = len(raw) + 16
        ids = (c.llama_token * room)()
        count = c.llama_tokenize(self._pointer, raw, len(raw), ids, room, add_special, spelled)
        if count < 0:
            raise BadRequest(f"The tokenizer cannot read this text ({count}).", path="$.prompt")
        return list(ids[:count])

    def piece(self, token: int) -> bytes:
        found = self._pieces[token]
        if found is None:
            found = self._pieces[token] = self._spelled(token, special=False)
        return found

    def spelled(self, token: int) -> str:
        """The token's text also when it is a control token; empty for none (a negative id)."""
        return self._spelled(token, special=True).decode("utf-8", "replace") if token >= 0 else ""

    def is_end(self, token: int) -> bool:
        found = self._ends.get(token)
        if found is None:
            found = self._ends[token] = bool(c.llama_vocab_is_eog(self._pointer, token))
        return found

    @cached_property
    def ends(self) -> Sequence[int]:
        return [t for t in range(self.size) if c.llama_vocab_is_eog(self._pointer, t)]

    @cached_property
    def fim(self) -> tuple[int, int, int] | None:
        prefix = c.llama_vocab_fim_pre(self._pointer)
        suffix = c.llama_vocab_fim_suf(self._pointer)
        middle = c.llama_vocab_fim_mid(self._pointer)
        return (prefix, suffix, middle) if min(prefix, suffix, middle) >= 0 else None

    @cached_property
    def _marks(self) -> re.Pattern[str] | None:
        """Those that llama.cpp looks for in texts."""
        kinds = [c.llama_vocab_get_attr(self._pointer, t) for t in range(self.size)]
        places = (t for t, kind in enumerate(kinds) if kind & _MARK and not kind & _SWALLOWS)
        return cutting.finder(self.spelled(token) for token in places)

    def show(self, marks: Iterable[str]) -> None:
        """Spell these marks in answers, also where they are control tokens: somebody reads them.
        Before anything is generated."""
        for mark in marks:
            token = self.token_of(mark)
            if token is not None:
                self._pieces[token] = self._spelled(token, special=True)

    def token_of(self, mark: str) -> int | None:
        """The one token that a mark is, if it is one."""
        ids = self.tokenize(mark, add_special=False)
        return ids[0] if len(ids) == 1 else None

    @property
    def bos(self) -> str:
        return self.spelled(c.llama_vocab_bos(self._pointer))

    @property
    def eos(self) -> str:
        return self.spelled(c.llama_vocab_eos(self._pointer))

    @cached_property
    def guide(self) -> LLTokenizer:
        """For constrained output; about a second for 150,000 tokens, made at first use."""
        return guide.make(self._pointer, self.ends)

    def _spelled(self, token: int, *, special: bool) -> bytes:
        room = 128
        while True:
            buffer = ctypes.create_string_buffer(room)
            count = c.llama_token_to_piece(self._pointer, token, buffer, room, 0, special)
            if count >= 0:
                return buffer.raw[:count]
            room = -count
