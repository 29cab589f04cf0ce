"""Bodies made from a server's own OpenAPI document: such as it should take, and spoiled ones.

`good` reads a schema as a strategy, with a liking for the ends of every range. `spoiled` puts one
hostile piece of JSON into a good body, or damages its bytes. What comes of it is the caller's
business; this knows only how requests are written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]
FEW = 3
"""Most optional fields, items and properties of one body's part: more would only be refused."""
DEEP = (100, 1_000, 10_000, 100_000)
_JSON = {"Content-Type": "application/json"}
_MARK = "a hostile piece stands here"

TEXTS = (
    "",
    "Hello",
    "\0\x01\x1b[2J\x7f\u202e\ufeff",
    "<|im_start|>system\n<|im_end|><|endoftext|>",
    "\U0001f41d\u0301" * 50,
    "{{ 7 * 7 }}{% for a in b %}",
    "../../etc/passwd",
)
PIECES = (
    *b"null true 0 -1 1.5 -0 01 +1 1e400 -1e400 1e-400 NaN Infinity -Infinity".split(),
    *b"2147483648 4294967296 9223372036854775808 -9223372036854775809 99e99".split(),
    *(b"9" * 4_000, b"0." + b"3" * 4_000),
    *rb'"" "\ud800" "\udc00\ud800" "\u0000" "\x" [] {} [null] [[]] {"":null} {"a":1,"a":2}'.split(),
    *(b'"\xff"', b'"\xed\xa0\x80"', b'"\t"', b'"\x00"'),
    *(
        b'"' + b"x" * 100_000 + b'"',
        b'"' + b"\\u00e9" * 20_000 + b'"',
        b"[0" + b",0" * 5_000 + b"]",
    ),
    *(b"[" * n + b"]" * n for n in DEEP),
    *(b'{"a":' * n + b"1" + b"}" * n for n in DEEP),
)
"""JSON, and what only looks like it."""
HEADERS: tuple[Mapping[str, str], ...] = (
    {"Content-Type": "text/plain"},
    {"Content-Type": ""},
    {"Content-Type": "multipart/form-data; boundary=x"},
    {"Content-Type": "application/json; charset=utf-16"},
    {"Content-Type": "APPLICATION/JSON;"},
    {**_JSON, "Content-Encoding": "gzip"},
    {**_JSON, "Accept": "text/event-stream"},
    {**_JSON, "Prefer": "respond-async"},
    {**_JSON, "X-Rbee-Job-Id": "../" * 100},
)


@dataclass(frozen=True)
class Body:
    """What is sent, and how it is declared."""

    raw: bytes
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Body({self.raw[:1_500]!r} of {len(self.raw)} bytes, {dict(self.headers)})"


@dataclass(frozen=True)
class Document:
    """An OpenAPI document, and what it does not say: what fields of certain names are made of
    (`known`), which are `always` to be given, and of which just one (`either`)."""

    content: dict[str, Any]
    known: Mapping[str, Strategy]
    always: frozenset[str]
    either: frozenset[str]
    _made: dict[str, Strategy] = field(default_factory=dict)

    def posts(self) -> dict[str, Any]:
        """Every path that takes a body, with the schema of it."""
        return {
            path: methods["post"]["requestBody"]["content"]["application/json"]["schema"]
            for path, methods in self.content["paths"].items()
            if "post" in methods
        }

    def gets(self) -> list[str]:
        return [path for path, methods in self.content["paths"].items() if "get" in methods]

    def good(self, schema: Mapping[str, Any]) -> Strategy:
        """Values that fit the schema."""
        if "$ref" in schema:
            return self._named(schema["$ref"].rpartition("/")[2])
        if "anyOf" in schema:
            return st.one_of([self.good(one) for one in schema["anyOf"]])
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        if "properties" in schema:
            return self._object(schema)
        match schema.get("type"):
            case "string":
                return _string(schema)
            case "integer" | "number":
                return _number(schema)
            case "boolean":
                return st.booleans()
            case "null":
                return st.none()
            case "array":
                least = schema.get("minItems", 0)
                items = self.good(schema.get("items", {}))
                return st.lists(items, min_size=least, max_size=least + FEW)
            case "object" if "additionalProperties" in schema:
                keys = _string(schema.get("propertyNames", {}))
                values = self.good(schema["additionalProperties"])
                return st.dictionaries(keys, values, max_size=FEW)
            case "object":
                return st.dictionaries(st.sampled_from(TEXTS), _ANYTHING, max_size=FEW)
        return _ANYTHING

    def _named(self, name: str) -> Strategy:
        """Made once: a component may hold itself."""
        if name not in self._made:
            components = self.content["components"]["schemas"]
            self._made[name] = st.deferred(lambda: self.good(components[name]))
        return self._made[name]

    def _object(self, schema: Mapping[str, Any]) -> Strategy:
        fields = {
            name: self.known[name] if name in self.known else self.good(inner)
            for name, inner in schema["properties"].items()
        }
        needed = {*schema.get("required", ()), *(self.always & fields.keys())}
        rivals = sorted(self.either & fields.keys() - needed)
        others = sorted(fields.keys() - needed - set(rivals))

        @st.composite
        def made(draw: st.DrawFn) -> dict[str, Any]:
            names = sorted(needed)
            names += [draw(st.sampled_from(rivals))] if rivals else []
            for _ in range(draw(st.integers(0, FEW)) if others else 0):
                names.append(draw(st.sampled_from(others)))
            return {name: draw(fields[name]) for name in names}

        return made()

    def bodies(self, schema: Mapping[str, Any]) -> st.SearchStrategy[Body]:
        """Good and spoiled ones, about as many of each."""
        good = self.good(schema)
        plain = good.map(lambda value: Body(json.dumps(value).encode(), _JSON))
        return st.one_of(plain, plain, _with_piece(good), _with_piece(good), _damaged(plain))


_ANYTHING: Strategy = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(TEXTS),
    lambda inner: (
        st.lists(inner, max_size=FEW) | st.dictionaries(st.sampled_from(TEXTS), inner, max_size=FEW)
    ),
    max_leaves=6,
)


def _string(schema: Mapping[str, Any]) -> Strategy:
    least, most = schema.get("minLength", 0), schema.get("maxLength", 1_000)
    if "pattern" in schema:
        made = st.from_regex(schema["pattern"], fullmatch=True)
    else:
        long = st.just("x" * min(most, 20_000))
        made = st.sampled_from(TEXTS) | st.text(st.characters(), max_size=20) | long
    return made.filter(lambda text: least <= len(text) <= most)


def _number(schema: Mapping[str, Any]) -> Strategy:
    above = schema.get("exclusiveMinimum")
    low = schema.get("minimum", above if above is not None else -(2**63))
    high = schema.get("maximum", 2**63 - 1)
    ends = st.sampled_from([high] if above is not None else [low, high])
    if schema["type"] == "integer":
        return ends | st.integers(low, min(high, low + 10)) | st.integers(low, high)
    return ends | st.floats(float(low), float(high), exclude_min=above is not None)


def _with_piece(good: Strategy) -> st.SearchStrategy[Body]:
    """One part of a good body replaced, or a field added that nobody knows."""

    @st.composite
    def made(draw: st.DrawFn) -> Body:
        value, piece = deepcopy(draw(good)), draw(st.sampled_from(PIECES))
        places = [*_places(value), *_places(value), (value, "colour"), ({}, "")]
        holder, key = draw(st.sampled_from(places))
        holder[key] = _MARK
        raw = json.dumps(value if key else _MARK).encode()
        return Body(raw.replace(json.dumps(_MARK).encode(), piece), _JSON)

    return made()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything inside."""
    keys: Any = range(len(value)) if isinstance(value, list) else value
    for key in keys if isinstance(value, list | dict) else ():
        yield value, key
        yield from _places(value[key])


def _damaged(plain: st.SearchStrategy[Body]) -> st.SearchStrategy[Body]:
    """Cut off, doubled, prefixed, or declared as something else."""

    @st.composite
    def made(draw: st.DrawFn) -> Body:
        raw = draw(plain).raw
        cut = draw(st.integers(0, len(raw)))
        return draw(
            st.sampled_from(
                [
                    Body(raw[:cut], _JSON),
                    Body(raw[:cut] + b"\xff" + raw[cut:], _JSON),
                    Body(raw[:cut] + b"\0" + raw[cut:], _JSON),
                    Body(raw + raw, _JSON),
                    Body(b"\xef\xbb\xbf" + raw, _JSON),
                    Body(raw.decode().encode("utf-16"), _JSON),
                    Body(raw.replace(b"{", b'{"model": 5, ', 1), _JSON),
                    Body(b"[" + raw + b"]", _JSON),
                    Body(json.dumps(raw.decode()).encode(), _JSON),
                    *(Body(raw, headers) for headers in HEADERS),
                ]
            )
        )

    return made()
