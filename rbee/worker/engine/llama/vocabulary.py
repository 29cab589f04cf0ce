"""What is known of a loaded model's tokens."""

from __future__ import annotations

import ctypes
from functools import cached_property
from typing import Any

import llama_cpp as c
from llguidance import LLTokenizer
from llguidance.llamacpp import lltokenizer_from_vocab

from rbee.errors import BadRequest


class LlamaVocabulary:
    """The tokens of a loaded model; every method may be called from any thread."""

    def __init__(self, model: Any) -> None:
        self._pointer = c.llama_model_get_vocab(model)
        self.size: int = c.llama_vocab_n_tokens(self._pointer)
        self._pieces: list[bytes | None] = [None] * self.size
        self.adds_bos = bool(c.llama_vocab_get_add_bos(self._pointer))

    def tokenize(self, text: str, *, add_special: bool) -> list[int]:
        raw = text.encode()
        room = len(raw) + 16
        ids = (c.llama_token * room)()
        count = c.llama_tokenize(self._pointer, raw, len(raw), ids, room, add_special, True)
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
        return bool(c.llama_vocab_is_eog(self._pointer, token))

    @property
    def bos(self) -> str:
        return self.spelled(c.llama_vocab_bos(self._pointer))

    @property
    def eos(self) -> str:
        return self.spelled(c.llama_vocab_eos(self._pointer))

    @cached_property
    def guide(self) -> LLTokenizer:
        """For constrained output; about a second for 150,000 tokens, made at first use."""
        return lltokenizer_from_vocab(self._pointer)

    def _spelled(self, token: int, *, special: bool) -> bytes:
        room = 128
        while True:
            buffer = ctypes.create_string_buffer(room)
            count = c.llama_token_to_piece(self._pointer, token, buffer, room, 0, special)
            if count >= 0:
                return buffer.raw[:count]
            room = -count
