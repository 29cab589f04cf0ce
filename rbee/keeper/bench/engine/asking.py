"""What the worker is asked in all these measurements: ids drawn at random, answers of a length."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from rbee.contracts.operations import Infer
from rbee.keeper.bench.weights import FIRST_WORD
from rbee.wire.codec import encode

PATH = "/v1/infer"
MODEL = "random"
PROMPT_TOKENS = 16
GREEDY: dict[str, Any] = {"temperature": 0.0}
SAMPLED: dict[str, Any] = {"temperature": 0.8, "top_k": 40, "top_p": 0.95}


class Drawer:
    """Prompts that nobody has asked before, the same ones in every run of the benchmark."""

    def __init__(self, vocabulary: int) -> None:
        self._random = random.Random(0)
        self._words = range(FIRST_WORD, vocabulary)

    def ids(self, count: int = PROMPT_TOKENS) -> list[int]:
        return self._random.choices(self._words, k=count)


def body(prompt: Sequence[int] | str, tokens: int, how: dict[str, Any] = GREEDY) -> bytes:
    """A request for exactly so many tokens."""
    wanted = Infer(
        model=MODEL,
        prompt=prompt if isinstance(prompt, str) else list(prompt),
        max_tokens=tokens,
        ignore_eos=True,
        **how,
    )
    return encode(wanted)
