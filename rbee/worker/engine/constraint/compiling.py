"""Compiling a constraint within bounds, whatever the text is that it comes from.

llguidance recurses over nested and chained definitions on the C stack, whose end is the process's
end. So it runs on a thread of its own, whose stack is as large as the text could need: every level
of recursion costs the text a bracket or a colon, and a text of more than `MOST_LEVELS` of them is
refused. Time and memory follow from the length of the text (the callers bound it) and from
llguidance's own limits. A few tokens are tried here too: much that is hopeless shows only then, and
the engine thread must not wait for it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from rbee.worker.engine.constraint.matcher import Constraint

T = TypeVar("T")

_FUEL, _FUEL_PER_CHARACTER, _MOST_FUEL = 50_000, 4, 400_000
"""How many expressions the lexer may build at the beginning. It pays for the compilation, and for
the longest text that is forced there: 400,000 take less than half a second."""
MOST_LEVELS = 40_000
_STACK_BYTES_PER_LEVEL = 10 * 1024
"""Measured: 2 to 5 KiB. What is not touched is only reserved."""
_MEBIBYTE = 1024 * 1024
"""Stacks are whole pages, however large those are."""
_SMALLEST_STACK = 16 * _MEBIBYTE
_WITHIN_S = 20.0
_TRIES_S, _TOKENS_TRIED = 0.3, 4
_stack_size = threading.Lock()
"""The size of new threads' stacks is one setting for the whole process."""


class Unusable(Exception):
    """What llguidance says of a source; the caller knows what it was made from."""


def of_lark(tokenizer: LLTokenizer, lark: str) -> Constraint:
    """Raises `Unusable`."""
    source = json.dumps({"grammars": [{"lark_grammar": lark}]})
    depth = sum(map(lark.count, "{([:"))
    return on_large_stack(depth, lambda: _compiled(tokenizer, source))


def of_json_schema(tokenizer: LLTokenizer, schema: dict[str, Any]) -> Constraint:
    """Raises `Unusable`."""
    source = json_source(schema)
    return on_large_stack(source.count("{"), lambda: _compiled(tokenizer, source))


def json_source(schema: dict[str, Any]) -> str:
    """llguidance's own form of a schema."""
    return json.dumps({"grammars": [{"json_schema": schema}]})


def limits(source: str) -> LLParserLimits:
    """A mask takes at most some 10 ms by them, an answer's states some 60 MB."""
    return LLParserLimits(
        max_items_in_row=4_000,
        step_max_items=100_000,
        step_lexer_fuel=100_000,
        initial_lexer_fuel=min(_MOST_FUEL, _FUEL + _FUEL_PER_CHARACTER * len(source)),
        max_lexer_states=30_000,
        max_grammar_size=300_000,
        verbose_errors=False,
    )


def _compiled(tokenizer: LLTokenizer, source: str) -> Constraint:
    """The first, the last and a middle token allowed are tried until one does not break it. Copies
    share what llguidance learns, so that nothing is left of one that broke: it is made anew."""
    error, begun = "", time.monotonic()
    for part in (0.0, 1.0, 0.5):
        matcher = LLMatcher(tokenizer, source, log_level=0, limits=limits(source))
        if matcher.is_error():
            raise Unusable(matcher.get_error())
        error = _broken_by(matcher, part)
        if not error:
            return Constraint(matcher, tokenizer.vocab_size)
        if time.monotonic() - begun > _TRIES_S:
            break
    raise Unusable(error)


def _broken_by(matcher: LLMatcher, part: float) -> str:
    """The error of a copy that goes on with some of the allowed tokens."""
    ahead = matcher.deep_copy()
    for _ in range(_TOKENS_TRIED):
        mask = np.frombuffer(ahead.compute_bitmask(), np.uint8)
        if ahead.is_stopped():
            break
        allowed = np.flatnonzero(np.unpackbits(mask, bitorder="little"))
        ahead.consume_token(int(allowed[int(part * (len(allowed) - 1))]))
    return str(ahead.get_error())


def on_large_stack(depth: int, work: Callable[[], T]) -> T:
    """Run `work` on a thread whose stack is large enough for `depth` levels."""
    if depth > MOST_LEVELS:
        raise Unusable(f"it is too large ({depth} nested or chained parts, {MOST_LEVELS} at most)")
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as exc:  # told to the caller, whose thread it did not happen in
            failures.append(exc)

    thread = threading.Thread(target=run, name="constraint", daemon=True)
    _start(thread, _SMALLEST_STACK + depth * _STACK_BYTES_PER_LEVEL // _MEBIBYTE * _MEBIBYTE)
    thread.join(_WITHIN_S)
    if thread.is_alive():
        raise Unusable("it takes too long to compile")
    if failures:
        if type(failures[0]).__name__ == "PanicException":
            raise Unusable("panic: ") from failures[0]
        raise failures[0]
    return results[0]


def _start(thread: threading.Thread, stack_bytes: int) -> None:
    with _stack_size:
        before = threading.stack_size(stack_bytes)
        try:
            thread.start()
        finally:
            threading.stack_size(before)
