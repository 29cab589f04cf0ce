"""What a field of a request may say or be called, for errors about it. Pure.

A fault is known by its JSON path; the type is walked along it. Where the path does not tell which
struct of several was meant, nothing is said: a hint that belongs to another one misleads.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec
from msgspec.inspect import DictType, LiteralType, Metadata, StructType, UnionType

_STEP = re.compile(r"\.([^.\[\]]+)|\[[^\]]*\]")


def allowed(kind: Any, path: str, tag: str = "") -> str:
    """A hint naming the words that may stand at `path`; empty where they are not certain."""
    above, _, name = path.rpartition(".")
    tags = {str(s.tag) for s in _structs(_at(kind, above, tag)) if s.tag_field == name}
    choices = {frozenset(_literals(found)) for found in _at(kind, path, tag)}
    choices |= {frozenset(tags)} if tags else set()
    words = sorted(choices.pop()) if len(choices) == 1 else []
    return f"it is one of: {', '.join(words)}" if words else ""


def meant(kind: Any, path: str, name: str, tag: str = "") -> str:
    """A hint naming the field of the struct at `path` that is called nearly so; else empty."""
    around = _structs(_at(kind, path, tag))
    if len(around) != 1:
        return ""
    known = [field.encode_name for field in around[0].fields]
    close = difflib.get_close_matches(name[:100], known, n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def tag_field(kind: Any) -> str:
    """The field that tells which struct a body is, when it may be one of several."""
    found = {struct.tag_field for struct in _structs([_info(kind)]) if struct.tag_field}
    return found.pop() if len(found) == 1 else ""


@cache
def _info(kind: Any) -> Any:
    return msgspec.inspect.type_info(kind)


def _at(kind: Any, path: str, tag: str) -> list[Any]:
    """The types that may stand at `path`; `tag` is the body's own."""
    whole: list[Any] = [_info(kind)]
    found: list[Any] = [s for s in _structs(whole) if tag and s.tag == tag] or whole
    for step in _STEP.finditer(path):
        found = list(_fields(found, step[1]) if step[1] else _items(found))
    return found


def _fields(kinds: list[Any], name: str) -> Iterator[Any]:
    for struct in _structs(kinds):
        yield from (field.type for field in struct.fields if field.encode_name == name)


def _items(kinds: list[Any]) -> Iterator[Any]:
    for kind in _flat(kinds):
        if isinstance(kind, DictType):
            yield kind.value_type
        elif hasattr(kind, "item_type"):
            yield kind.item_type


def _structs(kinds: list[Any]) -> list[StructType]:
    return [kind for kind in _flat(kinds) if isinstance(kind, StructType)]


def _flat(kinds: list[Any]) -> Iterator[Any]:
    """Each kind, and of a union its parts."""
    for kind in kinds:
        if isinstance(kind, Metadata):
            yield from _flat([kind.type])
        elif isinstance(kind, UnionType):
            yield from _flat(list(kind.types))
        else:
            yield kind


def _literals(kind: Any) -> set[str]:
    words = (kind.values for kind in _flat([kind]) if isinstance(kind, LiteralType))
    return {str(value) for values in words for value in values}
