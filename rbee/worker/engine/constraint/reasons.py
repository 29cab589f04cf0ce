"""llguidance's errors in a person's words: short, and with nothing of its inside.

Knows the shapes of its messages by their text only: what is not recognised is handed on, cut.
"""

from __future__ import annotations

import re

from rbee.errors import BadRequest

LONGEST = 300
_TOO_COMPLEX = "it is too complex"
_TOO_LARGE = "it is too large"
_KNOWN = (
    (r"^NoExtension", "it allows nothing"),
    (r"too many expressions constructed", f"{_TOO_COMPLEX} (a repetition is too long)"),
    (r"Too many items \(limit", f"{_TOO_COMPLEX} (too many ways to read the same text, or no end)"),
    (r"Current row has \d+ items", f"{_TOO_COMPLEX} (too many alternatives at one place)"),
    (r"too many states: |fuel exhausted|^lexer precomputation failed", _TOO_COMPLEX),
    (r"too big \(limit|^schema too large|^panic: ", _TOO_LARGE),
    (r"(?s)^Parser Error: .*doesn't satisfy the grammar", "the text does not follow the grammar"),
    (r"Default retriever does not fetch", "a $ref may only point into the schema itself"),
    (r"^Failed to generate regex for", "it limits numbers in a way that is too complex"),
)
_SAID = (
    (re.compile(r"Unsatisfiable schema: "), "it allows nothing: "),
    (re.compile(r"Unimplemented keys: \[(.*)\]"), r"keywords that cannot be enforced: \1"),
    (re.compile(r"^(at EOF: )+"), ""),
    (re.compile(r" \(at \".*$"), ""),
    (re.compile(r"; following .*$"), ""),
    (re.compile(r" at line 1 column \d+$"), ""),
    (re.compile(r"^lexer error$"), "this cannot be read"),
    (re.compile(r"json-schema:///(#\S*)"), r"\1"),
)
_REGEX = re.compile(
    r"regex parse error:\n    (?P<text>[^\n]*)\n(?P<mark> *\^+)[^\n]*\nerror: (?P<why>[^\n]*)"
)
_PLACE = re.compile(r"^(?:at )?(?P<line>\d+)\((?P<column>\d+)\): ")


def in_short(error: str) -> str:
    """One line, without the place."""
    for sign, said in _KNOWN:
        if re.search(sign, error):
            return said
    found = _REGEX.search(error)
    if found:
        start = len(found["mark"]) - len(found["mark"].lstrip()) - 4
        return f"{found['why']}, at {fragment(found['text'], max(0, start))}"
    line = _PLACE.sub("", error.strip()).partition("\n")[0]
    for shape, said in _SAID:
        line = shape.sub(said, line)
    return line.strip().rstrip(".")[:LONGEST] or "it cannot be read"


def is_about_size(error: str) -> bool:
    """Whether the whole is at fault, and no part of it."""
    return in_short(error).startswith((_TOO_COMPLEX, _TOO_LARGE))


def place(error: str) -> tuple[int, int] | None:
    """Line and column of a Lark grammar, counted from 1, where the error names them."""
    found = _PLACE.match(error)
    return (int(found["line"]), int(found["column"])) if found else None


def fragment(text: str, position: int) -> str:
    """What stands around a position, quoted."""
    start = max(0, position - 20)
    return repr(text[start : position + 20])


def refused(path: str, why: str, *, inside: str = "", at: str = "") -> BadRequest:
    """One sentence: which field (and what inside it), at which place, why."""
    return BadRequest(f"{path}{inside} is not usable{at}: {why}.", path=path)
