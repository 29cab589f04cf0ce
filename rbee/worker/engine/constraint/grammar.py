"""Grammars in GBNF (llama.cpp's) or Lark (llguidance's), and regular expressions."""

from __future__ import annotations

import re

from llguidance import LLTokenizer, regex_to_lark
from llguidance.gbnf_to_lark import gbnf_to_lark, is_lark_syntax

from rbee.worker.engine.constraint.compiling import Unusable, of_lark
from rbee.worker.engine.constraint.matcher import Constraint
from rbee.worker.engine.constraint.reasons import fragment, in_short, place, refused
from rbee.worker.engine.constraint.weight import (
    HEAVIEST,
    TOO_HEAVY,
    of_expression,
    of_heaviest,
)

MOST_CHARACTERS = 64 * 1024
MOST_REGEX_CHARACTERS = 4_000
MOST_RULES = 1_000
"""The converter of GBNF takes time by the square of their number."""


def of_grammar(tokenizer: LLTokenizer, grammar: str) -> Constraint:
    """Text that fits a GBNF (or Lark) grammar."""
    path = "$.grammar"
    _check_length(grammar, path, MOST_CHARACTERS)
    lark = is_lark_syntax(grammar)
    source = grammar if lark else _converted(grammar, path)
    if of_heaviest(source) > HEAVIEST:
        raise refused(path, TOO_HEAVY)
    try:
        return of_lark(tokenizer, source)
    except Unusable as exc:
        where = _where(source, str(exc), numbered=lark)
        raise refused(path, in_short(str(exc)), at=where) from exc


def of_regex(tokenizer: LLTokenizer, pattern: str) -> Constraint:
    """Text that matches as a whole."""
    path = "$.regex"
    _check_length(pattern, path, MOST_REGEX_CHARACTERS)
    if _ends_escaped(pattern):
        raise refused(path, "it ends in a lone backslash")
    if of_expression(pattern) > HEAVIEST:
        raise refused(path, TOO_HEAVY)
    try:
        return of_lark(tokenizer, f"start: /{regex_to_lark(pattern or '(?:)')}/")
    except Unusable as exc:
        raise refused(path, in_short(str(exc))) from exc


def _check_length(text: str, path: str, most: int) -> None:
    if len(text) > most:
        raise refused(path, f"it has {len(text)} characters, {most} at most")
    if not text.isprintable() and any("\ud800" <= c <= "\udfff" for c in text):
        raise refused(path, "it contains half a character (a lone surrogate)")


def _ends_escaped(pattern: str) -> bool:
    return (len(pattern) - len(pattern.rstrip("\\"))) % 2 == 1


def _converted(grammar: str, path: str) -> str:
    if grammar.count("::=") > MOST_RULES:
        raise refused(path, f"it has more than {MOST_RULES} rules")
    try:
        return gbnf_to_lark(_plain_escapes(grammar))
    except RecursionError as exc:
        raise refused(path, "its parentheses are nested too deep") from exc
    except Exception as exc:  # the converter raises bare `Exception` for what it cannot read
        raise refused(path, in_short(str(exc))) from exc


def _plain_escapes(grammar: str) -> str:
    r"""`\u0041` as `\x41` or as the character itself: the converter spoils the long forms."""

    def plain(found: re.Match[str]) -> str:
        code = int(found[1] or found[2], 16)
        if code < 0x80:
            return f"\\x{code:02x}"
        return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else found[0]

    return re.sub(r"\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})", plain, grammar)


def _where(source: str, error: str, *, numbered: bool) -> str:
    """The place in the client's text; of converted text only what stands there."""
    found = place(error)
    if found is None:
        return ""
    line, column = found
    lines = source.split("\n")
    text = fragment(lines[line - 1], column - 1) if line <= len(lines) else ""
    return f" at line {line}, {text}" if numbered else f" at {text}"
