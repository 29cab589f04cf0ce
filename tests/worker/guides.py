"""llguidance's view of `bee`'s vocabulary, without a worker; text walked through constraints."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np
from llguidance import LLTokenizer

from rbee import bee
from rbee.worker.engine.constraint import Constraint
from rbee.worker.engine.llama import loading
from rbee.worker.engine.llama.vocabulary import LlamaVocabulary

END = 2
"""`<|im_end|>`."""
CALL, CALL_END = 3, 4
"""`<tool_call>` and `</tool_call>`."""


@functools.cache
def vocabulary() -> LlamaVocabulary:
    """Kept for the whole run: tokenizers point into it."""
    loading.start()
    return LlamaVocabulary(loading.load(bee.path(), "cpu", 0, lambda _: None))


def guide() -> LLTokenizer:
    return vocabulary().guide


def allowed(constraint: Constraint, size: int = 0) -> list[int]:
    """The tokens that may come next; `size` is that of another vocabulary than `bee`'s."""
    row = np.zeros(size or vocabulary().size, np.float32)
    constraint.apply(row)
    return [int(token) for token in np.flatnonzero(row == 0)]


def said(tokens: Iterable[int], *, whole: bool = True) -> str:
    """The text of an answer; one that was cut off may end within a character."""
    spelled = b"".join(vocabulary().piece(token) for token in tokens)
    return spelled.decode(errors="strict" if whole else "replace")


def follows(constraint: Constraint, *parts: str | int) -> bool:
    """Whether text (as plain tokens) and tokens, one after another, are allowed. Ends where the
    first is not."""
    for part in parts:
        for token in [part] if isinstance(part, int) else guide().tokenize_str(part):
            if constraint.complete or token not in allowed(constraint):
                return False
            constraint.accept(token)
    assert not constraint.failure
    return True


def whole(constraint: Constraint, *parts: str | int) -> bool:
    """Whether the parts are a whole answer."""
    ended = vocabulary().is_end
    return follows(constraint, *parts) and (
        constraint.complete or any(map(ended, allowed(constraint)))
    )
