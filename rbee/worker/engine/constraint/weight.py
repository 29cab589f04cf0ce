"""How heavy a regular expression is, before llguidance sees it.

Repetitions that stand side by side in one expression (`.*.*.*`, by thousands) cost the square of
their number, which none of llguidance's limits bounds. One that is repeated as a whole is cheap.
"""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter

HEAVIEST = 1_000
"""Some tenths of a second."""
TOO_HEAVY = f"a regular expression has more than {HEAVIEST} repetitions in it"
_DEFINITION = re.compile(r"^\s*[?!]?([A-Za-z_][\w-]*)\s*([^\s:]?)[^:\n]*:", re.MULTILINE)
_NAME = re.compile(r"\b[A-Z_][A-Z0-9_]*\b")
_QUOTED = re.compile(r'(?P<text>"(?:\\.|[^"\\\n])*")|(?://|#)[^\n]*|(?P<regex>/(?:\\.|[^/\\\n])+/)')


def of_expression(regex: str) -> int:
    """An upper bound of its repetitions."""
    return sum(map(regex.count, "*+?{"))


def of_heaviest(lark: str) -> int:
    """The same for the heaviest definition of a grammar. Terminals (and rules with attributes, such
    as `[lazy]`) are one expression with all that they name; rules only name others."""
    bodies = _bodies(lark)
    named = {
        name: _NAME.findall(_QUOTED.sub("", body)) if whole else []
        for name, (body, whole) in bodies.items()
    }
    weights: dict[str, int] = {}
    try:
        for name in TopologicalSorter({k: set(v) for k, v in named.items()}).static_order():
            own = _own(*bodies[name]) if name in bodies else 0
            weights[name] = own + sum(weights[other] for other in named.get(name, ()))
    except CycleError:  # llguidance refuses it, and says why
        return 0
    return max(weights.values(), default=0)


def _own(body: str, whole: bool) -> int:
    """Of a rule only its heaviest literal counts (a text may be a pattern, inside `%json`)."""
    if not whole:
        return max((of_expression(found[0]) for found in _QUOTED.finditer(body)), default=0)
    regexes = [of_expression(found["regex"] or "") for found in _QUOTED.finditer(body)]
    return sum(regexes) + of_expression(_QUOTED.sub("", body))


def _bodies(lark: str) -> dict[str, tuple[str, bool]]:
    """Behind each name: its definition up to the next one, and whether it is one expression."""
    found = list(_DEFINITION.finditer(lark))
    ends = [match.start() for match in found[1:]] + [len(lark)]
    return {
        match[1]: (lark[match.end() : end], match[1].isupper() or match[2] == "[")
        for match, end in zip(found, ends, strict=True)
    }
