"""JSON schemas: checked, sized, and compiled; and where in one the fault is.

White space is bounded, so that no model hangs in it. Properties come in the order of the schema;
`oneOf` is read as `anyOf`. What else cannot be enforced is refused, unless the caller is lenient.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from rbee.errors import BadRequest
from rbee.worker.engine.constraint.compiling import (
    Unusable,
    json_source,
    limits,
    of_json_schema,
    on_large_stack,
)
from rbee.worker.engine.constraint.matcher import Constraint
from rbee.worker.engine.constraint.reasons import in_short, is_about_size, refused
from rbee.worker.engine.constraint.weight import HEAVIEST, TOO_HEAVY, of_expression

Schema = dict[str, Any] | bool

MOST_BYTES = 128 * 1024
MOST_PROPERTIES = 1_000
"""Of one object: optional ones may come next all at once."""
MOST_DEPTH = 100
"""llguidance reads 128 levels, some of them around the schema."""
_OPTIONS = {
    "whitespace_flexible": True,
    "whitespace_pattern": r"[ ]|\r?\n[ \t]{0,32}",
    "item_separator": ",",
    "key_separator": ":",
    "coerce_one_of": True,
}
_MAPS = ("properties", "patternProperties", "$defs", "definitions")
_LISTS = ("prefixItems", "allOf", "anyOf", "oneOf")
_ONES = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
_SHARED = ("$defs", "definitions", "x-guidance")
_SEARCHES, _SEARCH_S = 300, 0.5


def of_schema(tokenizer: LLTokenizer, schema: Schema) -> Constraint:
    """JSON that fits the schema. Raises `BadRequest` saying what in it cannot be used."""
    path = "$.json_schema"
    prepared = prepared_schema(schema, path)
    try:
        return of_json_schema(tokenizer, prepared)
    except Unusable as exc:
        raise fault(prepared, str(exc), path) from exc


def prepared_schema(
    schema: Schema, path: str, inside: str = "", *, lenient: bool = False
) -> dict[str, Any]:
    """The schema with our options in it (never the client's own). Raises `BadRequest` when it is
    too deep or too long to be looked at."""
    _check_depth(schema, path, inside)
    _check_parts(schema, path, inside)
    try:
        size = len(json.dumps(schema, ensure_ascii=False).encode())
    except UnicodeEncodeError as exc:
        raise refused(
            path, "it contains half a character (a lone surrogate)", inside=inside
        ) from exc
    if size > MOST_BYTES:
        raise refused(path, f"it has {size} bytes, {MOST_BYTES} at most", inside=inside)
    given = schema if isinstance(schema, dict) else ({} if schema else {"enum": []})
    return {**given, "x-guidance": {**_OPTIONS, "lenient": lenient}}


def fault(schema: dict[str, Any], error: str, path: str, inside: str = "") -> BadRequest:
    """What to tell the client: the innermost part that has the same fault on its own."""
    depth = json_source({"any": schema}).count("{")
    with contextlib.suppress(Unusable):  # it is too large to be searched
        inside += on_large_stack(depth, lambda: _innermost(schema, error))
    return refused(path, in_short(error), inside=inside)


def _check_depth(schema: Schema, path: str, inside: str) -> None:
    level: list[tuple[str, Any]] = [("", schema)]
    for _ in range(MOST_DEPTH):
        level = [(p + step, value) for p, item in level for step, value in _children(item)]
        if not level:
            return
    deep = f"it is nested more than {MOST_DEPTH} levels deep, at {level[0][0][:80]}"
    raise refused(path, deep, inside=inside)


def _check_parts(schema: Schema, path: str, inside: str) -> None:
    """What costs llguidance more than its share of the text."""
    parts: list[Any] = [schema]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            named = part.get("patternProperties")
            regexes = [part.get("pattern"), *(named if isinstance(named, dict) else ())]
            if any(isinstance(r, str) and of_expression(r) > HEAVIEST for r in regexes):
                raise refused(path, TOO_HEAVY, inside=inside)
            properties = part.get("properties")
            if isinstance(properties, dict) and len(properties) > MOST_PROPERTIES:
                many = f"an object has more than {MOST_PROPERTIES} properties"
                raise refused(path, many, inside=inside)
        parts += [item for _, item in _children(part)]


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((_step(key), item) for key, item in value.items() if _holds(item))
    elif isinstance(value, list):
        yield from ((f"[{i}]", item) for i, item in enumerate(value) if _holds(item))


def _holds(value: Any) -> bool:
    return isinstance(value, dict | list)


def _step(key: str) -> str:
    return f".{key}" if re.fullmatch(r"[\w$-]{1,64}", key) else f"[{key[:64]!r}]"


def _innermost(schema: dict[str, Any], error: str) -> str:
    """Walks down as long as a part has the same fault when it is compiled alone."""
    if is_about_size(error):
        return ""
    shared = {key: schema[key] for key in _SHARED if key in schema}
    ends, tries = time.monotonic() + _SEARCH_S, iter(range(_SEARCHES))
    place, part = "", schema
    while True:
        for step, child in _subschemas(part):
            if next(tries, None) is None or time.monotonic() > ends:
                return place
            if _same_fault({**child, **shared}, error):
                place, part = place + step, child
                break
        else:
            return place


def _subschemas(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for key in _MAPS:
        inner = schema.get(key)
        if isinstance(inner, dict):
            yield from ((f".{key}{_step(n)}", s) for n, s in inner.items() if isinstance(s, dict))
    for key in _LISTS:
        inner = schema.get(key)
        if isinstance(inner, list):
            yield from ((f".{key}[{i}]", s) for i, s in enumerate(inner) if isinstance(s, dict))
    yield from ((f".{key}", schema[key]) for key in _ONES if isinstance(schema.get(key), dict))


def _same_fault(part: dict[str, Any], error: str) -> bool:
    source = json_source(part)
    found = LLMatcher.validate_grammar(source, limits=limits(source))
    return found.partition("\n")[0] == error.partition("\n")[0]
