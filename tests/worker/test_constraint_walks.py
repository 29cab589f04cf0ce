"""Whatever the model says, an answer under a schema is JSON that fits it: tokens drawn at random
from what the constraint allows, until it is complete."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbee.worker.engine.constraint import Constraint, of_schema
from tests.worker.guides import allowed, guide, said, vocabulary

MOST_TOKENS = 3_000
WORD = {"type": "string", "maxLength": 20}
CHOICE = {"enum": ["red", "<tool_call>", 'with "quotes"', "ünïcode ☃", 7, None]}


def thing(properties: dict[str, Any], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


PERSON = thing({"name": WORD, "age": {"type": "integer"}, "nick": WORD}, optional=("nick",))
SCHEMAS: dict[str, dict[str, Any]] = {
    "string": WORD,
    "integer": {"type": "integer", "minimum": -5, "maximum": 1_000},
    "number": {"type": "number"},
    "boolean or null": {"type": ["boolean", "null"]},
    "choice": CHOICE,
    "object": PERSON,
    "array": {"type": "array", "items": PERSON, "minItems": 1, "maxItems": 3},
    "any of": {"anyOf": [PERSON, {"type": "array", "items": {"type": "boolean"}, "maxItems": 4}]},
    "nested": thing({"a": thing({"b": thing({"c": CHOICE, "d": {"type": "null"}})})}),
    "references": {**thing({"x": {"$ref": "#/$defs/p"}}), "$defs": {"p": PERSON}},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{1,4}$"},
    "format": thing(
        {"day": {"type": "string", "format": "date"}, "id": {"type": "string", "format": "uuid"}}
    ),
    "constant": thing({"kind": {"const": "<|im_end|>"}, "deep": {"const": {"a": [1, "é"]}}}),
    "tuple": {
        "type": "array",
        "prefixItems": [WORD, {"type": "integer"}],
        "minItems": 2,
        "items": False,
    },
}


@pytest.mark.parametrize("name", SCHEMAS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_random_answers_are_json_that_fits(name: str, seed: int) -> None:
    schema = SCHEMAS[name]
    tokens, constraint = walk(of_schema(guide(), schema), seed, MOST_TOKENS)
    text = said(tokens)
    assert constraint.complete and constraint.failure == "", text
    check(json.loads(text), schema, schema)
    assert "<|im_end|>" not in text or name == "constant"


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_no_answer_gets_lost_in_white_space(seed: int) -> None:
    anything = {
        "type": "object",
        "additionalProperties": {"type": "array", "items": {"type": "null"}},
    }
    tokens, constraint = walk(of_schema(guide(), anything), seed, 300)
    assert constraint.failure == ""
    outside = re.sub(r'"(?:\\.|[^"\\])*"', "", said(tokens, whole=False))
    assert not re.search(r"\s{36}", outside)


def walk(constraint: Constraint, seed: int, limit: int) -> tuple[list[int], Constraint]:
    """Tokens up to the model's end token, without it."""
    draw, tokens = random.Random(seed), list[int]()
    while not constraint.complete and len(tokens) < limit:
        token = draw.choice(allowed(constraint))
        constraint.accept(token)
        if not vocabulary().is_end(token):
            tokens.append(token)
    return tokens, constraint


KINDS: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
    "object": dict,
    "array": list,
}


def check(value: Any, schema: Any, root: dict[str, Any]) -> None:
    """The few keywords that `SCHEMAS` uses."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return check(value, schema["anyOf"][isinstance(value, list)], root)
    kinds = schema.get("type", [])
    assert not kinds or any(is_a(value, k) for k in ([kinds] if isinstance(kinds, str) else kinds))
    if "enum" in schema:
        assert value in schema["enum"]
    if "const" in schema:
        assert value == schema["const"]
    if isinstance(value, str):
        assert len(value) <= schema.get("maxLength", 100)
        assert re.search(schema.get("pattern", ""), value)
    if isinstance(value, dict) and "properties" in schema:
        assert set(schema["required"]) <= set(value) <= set(schema["properties"])
        for key, item in value.items():
            check(item, schema["properties"][key], root)
    if isinstance(value, list) and "const" not in schema:
        assert schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 4)
        inside = schema.get("prefixItems") or [schema["items"]] * len(value)
        for item, part in zip(value, inside, strict=True):
            check(item, part, root)
    if "minimum" in schema:
        assert schema["minimum"] <= value <= schema["maximum"]


def is_a(value: Any, kind: str) -> bool:
    if kind == "integer":
        return (
            isinstance(value, int | float) and not isinstance(value, bool) and value == int(value)
        )
    return isinstance(value, KINDS[kind])
