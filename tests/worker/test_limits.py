"""Every bound that `Infer` declares: at it a request is answered (or refused for what it asks),
past it the answer is a 422 that names the field.

The cases are read off the contract itself, so that a new field is tested the day it is added.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec import inspect

from rbee.contracts.operations import Infer
from tests.beside import streams_beside
from tests.http import ask
from tests.processes import Started
from tests.worker.bees import request

WITHIN_S = 3.0
FIELDS = {
    field.encode_name: field.type
    for field in inspect.type_info(Infer).fields  # type: ignore[attr-defined]
}
SAMPLES: dict[str, Any] = {
    "messages": {"role": "user", "content": "a"},
    "tools": {"function": {"name": "f"}},
}
"""What lists of structs are filled with."""


@dataclass(frozen=True)
class Case:
    """A value for a field: within its bounds, or just past them."""

    field: str
    value: Any
    within: bool

    def __str__(self) -> str:
        text = json.dumps(self.value)
        return f"{self.field} {'at' if self.within else 'past'} {text[:20]} ({len(text)})"


def cases() -> Iterator[Case]:
    for name, kind in FIELDS.items():
        for value, within in bounds(kind, name):
            yield Case(name, value, within)


def bounds(kind: Any, name: str) -> Iterator[tuple[Any, bool]]:
    """Values at and past every bound of a type."""
    match kind:
        case inspect.UnionType():
            for part in kind.types:
                yield from bounds(part, name)
        case inspect.IntType() | inspect.FloatType():
            yield from of_number(kind)
        case inspect.StrType():
            yield from of_length(kind, "" if kind.pattern else None, "7" * 2)
        case inspect.ListType():
            item = SAMPLES.get(name, "a" if isinstance(kind.item_type, inspect.StrType) else 5)
            yield from of_length(kind, None, [item])
            yield from (([value], ok) for value, ok in bounds(kind.item_type, name))
        case inspect.DictType():
            if kind.max_length:
                for count in (kind.max_length, kind.max_length + 1):
                    yield {str(k): 1 for k in range(count)}, count == kind.max_length
            yield from (({"5": v}, ok) for v, ok in bounds(kind.value_type, name))
            if kind.max_length:
                yield from (({k: 1}, ok) for k, ok in bounds(kind.key_type, name) if k != "7" * 10)


def of_number(kind: Any) -> Iterator[tuple[Any, bool]]:
    whole = isinstance(kind, inspect.IntType)
    for end, way, included in (
        (kind.ge, -1, True),
        (kind.le, 1, True),
        (kind.gt, -1, False),
        (kind.lt, 1, False),
    ):
        if end is None:
            continue
        yield end, included
        yield (end + way if whole else math.nextafter(end, way * math.inf)), False
        yield (way * 2**70 if whole else way * 1e300), False
    if whole:
        yield 1.5, False


def of_length(kind: Any, too_short: Any, unit: Any) -> Iterator[tuple[Any, bool]]:
    """`unit` repeated to the greatest length and one past it; and what is shorter than allowed."""
    one = unit[:1]
    if kind.max_length:
        yield one * kind.max_length, True
        yield one * (kind.max_length + 1), False
    if kind.min_length:
        yield one * kind.min_length, True
        yield one * (kind.min_length - 1), False


CASES = list(cases())


@pytest.fixture(scope="module", autouse=True)
def beside(bee_worker: Started) -> Iterator[None]:
    with streams_beside(f"{bee_worker.url}/v1/infer"):
        yield


def test_no_bound_is_overlooked() -> None:
    numbers = {case.field for case in CASES if isinstance(case.value, int | float)}
    assert {"temperature", "max_tokens", "n", "seed", "dry_base", "deadline_ms"} <= numbers
    unbounded = FIELDS.keys() - {case.field for case in CASES}
    assert {name for name in unbounded if not is_free(FIELDS[name])} == set()


def is_free(kind: Any) -> bool:
    """A type that has no bounds: yes or no, one of some words, or anything at all."""
    if isinstance(kind, inspect.UnionType):
        return all(map(is_free, kind.types))
    if isinstance(kind, inspect.DictType):
        return isinstance(kind.value_type, inspect.AnyType)
    free = inspect.BoolType, inspect.NoneType, inspect.LiteralType, inspect.StructType
    return isinstance(kind, free)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_bound(bee_worker: Started, case: Case) -> None:
    said = None if case.field in ("messages", "prompt") else "Hello"
    body = request(said, stream=False, **{"max_tokens": 4, case.field: case.value})
    began = time.monotonic()
    found = ask("POST", f"{bee_worker.url}/v1/infer", body)
    assert time.monotonic() - began < WITHIN_S
    late = case.field == "deadline_ms" and found.status == 504
    if case.within and (found.status == 200 or late):
        return
    error = found.json()["error"]
    whole = error["code"] == "context_length_exceeded"  # many tools are a long prompt
    assert whole or str(error.get("param", "")).startswith(case.field), error
    if case.within:
        sensible = 400 <= found.status < 500 and "Expected" not in error["message"]
        assert sensible, error
    else:
        assert (found.status, error["code"]) == (422, "invalid_field"), error
