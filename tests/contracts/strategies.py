"""Hypothesis strategies for contract types, read off their annotations: every bound is obeyed, so
that what comes out is exactly what a peer may send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

Strategy = st.SearchStrategy[Any]
FEW = 3
"""Longest list or dictionary made beyond its required length."""
WORD = st.text(max_size=8)
JSON_VALUE: Strategy = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | WORD,
    lambda inner: st.lists(inner, max_size=FEW) | st.dictionaries(WORD, inner, max_size=FEW),
    max_leaves=6,
)


def of(kind: Any) -> Strategy:
    """Values of a contract type, or of a union of them."""
    return _Maker().make(inspect.type_info(kind))


class _Maker:
    def __init__(self) -> None:
        self._structs: dict[type, Strategy] = {}
        self._by_kind: dict[type, Callable[[Any], Strategy]] = {
            inspect.NoneType: lambda _: st.none(),
            inspect.BoolType: lambda _: st.booleans(),
            inspect.AnyType: lambda _: JSON_VALUE,
            inspect.IntType: _int,
            inspect.FloatType: _float,
            inspect.StrType: _str,
            inspect.LiteralType: lambda t: st.sampled_from(t.values),
            inspect.ListType: self._list,
            inspect.DictType: self._dict,
            inspect.UnionType: lambda t: st.one_of([self.make(part) for part in t.types]),
            inspect.StructType: self._struct,
            inspect.Metadata: lambda t: self.make(t.type),
        }

    def make(self, found: inspect.Type) -> Strategy:
        return self._by_kind[type(found)](found)

    def _list(self, found: inspect.ListType) -> Strategy:
        least = found.min_length or 0
        return st.lists(self.make(found.item_type), min_size=least, max_size=least + FEW)

    def _dict(self, found: inspect.DictType) -> Strategy:
        return st.dictionaries(self.make(found.key_type), self.make(found.value_type), max_size=FEW)

    def _struct(self, found: inspect.StructType) -> Strategy:
        if found.cls not in self._structs:
            self._structs[found.cls] = st.deferred(lambda: self._fields(found))
        return self._structs[found.cls]

    def _fields(self, found: inspect.StructType) -> Strategy:
        made = {f.name: self.make(f.type) for f in found.fields if f.required}
        optional = {f.name: self.make(f.type) for f in found.fields if not f.required}
        return st.fixed_dictionaries(made, optional=optional).map(lambda v: found.cls(**v))


def _int(found: inspect.IntType) -> Strategy:
    low = -(2**63) if found.ge is None else found.ge
    return st.integers(low, 2**63 - 1 if found.le is None else found.le)


def _float(found: inspect.FloatType) -> Strategy:
    low = found.gt if found.ge is None else found.ge
    return st.floats(
        low, found.le, exclude_min=found.gt is not None, allow_nan=False, allow_infinity=False
    )


def _str(found: inspect.StrType) -> Strategy:
    least, most = found.min_length or 0, found.max_length or 40
    if found.pattern is None:
        return st.text(min_size=least, max_size=min(most, least + 40))
    return st.from_regex(found.pattern, fullmatch=True).filter(lambda s: least <= len(s) <= most)


def structs_in(kind: Any) -> list[inspect.StructType]:
    """Every struct that may occur in a value of `kind`, each once."""
    seen: dict[type, inspect.StructType] = {}
    _walk(inspect.type_info(kind), seen)
    return list(seen.values())


def _walk(found: Any, seen: dict[type, inspect.StructType]) -> None:
    if isinstance(found, inspect.StructType):
        if found.cls in seen:
            return
        seen[found.cls] = found
        for field in found.fields:
            _walk(field.type, seen)
    for part in parts_of(found):
        _walk(part, seen)


def parts_of(found: Any) -> tuple[inspect.Type, ...]:
    """What a list, dictionary, union or annotated type is made of."""
    match found:
        case inspect.ListType():
            return (found.item_type,)
        case inspect.DictType():
            return (found.key_type, found.value_type)
        case inspect.UnionType():
            return found.types
        case inspect.Metadata():
            return (found.type,)
    return ()


def forbids(struct: type) -> bool:
    """Whether unknown fields are an error."""
    assert issubclass(struct, msgspec.Struct)
    return struct.__struct_config__.forbid_unknown_fields
