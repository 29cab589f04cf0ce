"""Schemas, grammars and expressions that cannot be used: a 400 that says where, soon, and alive."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from rbee.contracts.chat import FunctionSpec, Tool
from rbee.errors import BadRequest
from rbee.worker.engine.constraint import of_grammar, of_regex, of_schema, of_tools
from rbee.worker.tools.forms import HERMES
from tests.worker.guides import allowed, guide

WITHIN_S = 10.0
"""Far more than any needs (a second), so that a busy machine does not matter."""


def deep(levels: int, key: str) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        found = {key: found}
    return found


def chain(length: int, link: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Definitions that refer to one another in a row."""
    parts = {f"a{n}": link(f"#/$defs/a{n + 1}") for n in range(length)}
    return {"$ref": "#/$defs/a0", "$defs": {**parts, f"a{length}": {"type": "string"}}}


SCHEMAS: dict[str, tuple[dict[str, Any] | bool, str]] = {
    "1,000 levels": (deep(1_000, "items"), "nested more than 100 levels deep, at .items.items"),
    "100,000 levels": (deep(100_000, "not"), "nested more than 100 levels"),
    "wrong type inside": (
        {"properties": {"a b": {"items": [{}], "anyOf": [{}, {"type": "strin"}]}}},
        "$.json_schema.properties['a b'].anyOf[1] is not usable: Invalid type: strin",
    ),
    "wrong type in a definition": (
        {"$ref": "#/$defs/x", "$defs": {"x": {"items": {"type": "strin"}}}},
        "$.json_schema.$defs.x.items is not usable: Invalid type: strin",
    ),
    "refers to itself": ({"$ref": "#"}, "it allows nothing"),
    "a ring of references": (chain(1, lambda _: {"$ref": "#/$defs/a0"}), "it allows nothing"),
    "false": (False, "it allows nothing"),
    "empty enum": ({"enum": []}, "it allows nothing"),
    "impossible": ({"type": "integer", "minimum": 5, "maximum": 3}, "minimum (5) is greater"),
    "elsewhere": ({"$ref": "http://127.0.0.1:9/x"}, "only point into the schema itself"),
    "a file": ({"$ref": "file:///etc/passwd"}, "only point into the schema itself"),
    "lookahead": ({"type": "string", "pattern": "(?=a)b"}, "is not supported, at '(?=a)b'"),
    "backreference": ({"type": "string", "pattern": r"(a)\1"}, "backreferences are not supported"),
    "broken pattern": ({"type": "string", "pattern": "(a"}, "unclosed group, at '(a'"),
    "endless pattern": ({"type": "string", "pattern": ".*" * 2_000}, "1000 repetitions"),
    "forced for ever": ({"type": "string", "pattern": "^(x{1000}){1000}$"}, "too complex"),
    "names like limits": (
        {"properties": {"fuel": False}, "required": ["fuel"], "type": "object"},
        "required property 'fuel' is unsatisfiable",
    ),
    "not": ({"not": {"type": "string"}}, 'keywords that cannot be enforced: "not"'),
    "many values": ({"enum": [f"value {n}" for n in range(100_000)]}, "131072 at most"),
    "a long value": ({"const": "x" * 5_000_000}, "131072 at most"),
    "combinations": (
        {
            "allOf": [
                {"anyOf": [{"minLength": n, "enum": [n]} for n in range(9)]} for _ in range(12)
            ]
        },
        "it is too large",
    ),
    "half a character": ({"enum": ["\ud800"]}, "half a character"),
    "half a key": ({"properties": {"\ud800": {}}}, "half a character"),
    "too many choices": (
        {"properties": {f"p{n}": {} for n in range(4_000)}},
        "more than 1000 properties",
    ),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas(name: str) -> None:
    given, why = SCHEMAS[name]
    refuses(lambda: of_schema(guide(), given), "$.json_schema", why)


CHAIN = "\n".join(f"r{n}: r{n + 1}" for n in range(20_000))
GRAMMARS = {
    "empty": ("", "No 'root' rule found"),
    "nothing": ("root ::= root", "it allows nothing"),
    "nothing in turns": ("root ::= a\na ::= b\nb ::= a", "it allows nothing"),
    "no end": ('start: "a" start', "or no end"),
    "unknown rule": ("root ::= other", "Rule 'other' not found"),
    "open parenthesis": ('root ::= ("a"', "Expected ')' at line 1"),
    "open string": ('root ::= "a\n', "is not usable"),
    "open class": ("root ::= [a-", "Unexpected end of input"),
    "class upside down": ("root ::= [z-a]", "invalid character class range"),
    "nested": ("root ::= " + "(" * 20_000 + '"a"' + ")" * 20_000, "nested too deep"),
    "nested Lark": ("start: " + "(" * 20_000 + '"a"' + ")" * 20_000, "too deeply nested"),
    "nested again": ("start: " + "%lark { start: " * 2_000, "is not usable at line 1"),
    "long": ("start: r0\n" + CHAIN, "65536 at most"),
    "many rules": ("root ::= a\n" + 'a ::= "a"\n' * 2_000, "more than 1000 rules"),
    "line": ('start: a\na: "x" <nope>', "at line 2, 'a: \"x\" <nope>': unknown special token"),
    "token range": ("start: <[5-3]>", "invalid token range"),
    "repetition": ('start: "a"{1000000000}', "too complex"),
    "expression": ("start: /(x{1000}){1000}/", "a repetition is too long"),
    "repetitions": ("start: A\nA: " + "/.*/ " * 4_000, "1000 repetitions"),
    "doubled": (
        "start: R0\n" + "".join(f"R{n}: R{n + 1} R{n + 1}\n" for n in range(40)) + "R40: /.*/",
        "1000 repetitions",
    ),
    "doubled rules": (
        "start: r0\n" + "".join(f"r{n}: r{n + 1} r{n + 1}\n" for n in range(40)) + 'r40: "a"',
        "too complex",
    ),
    "half a character": ('root ::= "\ud800"', "half a character"),
    "half an escape": ('root ::= "\\ud800"', "is not usable"),
}


@pytest.mark.parametrize("name", GRAMMARS)
def test_grammars(name: str) -> None:
    given, why = GRAMMARS[name]
    refuses(lambda: of_grammar(guide(), given), "$.grammar", why)


PATTERNS = {
    "(x{1000}){1000}": "a repetition is too long",
    "(?=a)b": "look-around",
    r"(a)\1": "backreferences",
    r"\bword": "lookarounds not supported",
    "[a": "unclosed character class, at '[a'",
    "a{2,1}": "invalid repetition count range",
    "a\\": "lone backslash",
    "\ud800": "half a character",
    "(" * 1_500 + ")" * 1_500: "nested parentheses",
    ".*" * 40_000: "4000 at most",
    ".*" * 1_500: "1000 repetitions",
}


@pytest.mark.parametrize("pattern", PATTERNS, ids=range(len(PATTERNS)))
def test_regular_expressions(pattern: str) -> None:
    refuses(lambda: of_regex(guide(), pattern), "$.regex", PATTERNS[pattern])


def test_a_tool_whose_arguments_cannot_be_enforced_is_named() -> None:
    good = Tool(FunctionSpec("good", parameters={"type": "object"}))
    properties = {"a": {"type": "string", "pattern": "(a"}}
    bad = Tool(FunctionSpec("bad", parameters={"type": "object", "properties": properties}))
    refuses(
        lambda: of_tools(guide(), [good, bad], HERMES, several=True),
        "$.tools",
        "$.tools[1].function.parameters.properties.a is not usable: unclosed group",
    )


def test_what_is_strict_may_not_ask_for_what_cannot_be_enforced() -> None:
    def tools(strict: bool | None) -> list[Tool]:
        return [Tool(FunctionSpec("f", parameters={"uniqueItems": True}, strict=strict))]

    refuses(
        lambda: of_tools(guide(), tools(True), HERMES, several=False), "$.tools", '"uniqueItems"'
    )
    of_tools(guide(), tools(None), HERMES, several=False)


@pytest.mark.parametrize(
    "link",
    [
        lambda to: {"$ref": to},
        lambda to: {"allOf": [{"$ref": to}]},
        lambda to: {"type": "object", "properties": {"x": {"$ref": to}}},
        lambda to: {"items": {"items": {"items": {"items": {"$ref": to}}}}},
    ],
)
def test_long_chains_of_definitions_do_not_end_the_process(
    link: Callable[[str], dict[str, Any]],
) -> None:
    """They may be refused or not; and what is accepted is used on a small stack."""
    length = 120_000 // (len(str(link("#/$defs/a1234"))) + 10)
    try:
        constraint = of_schema(guide(), chain(length, link))
    except BadRequest as exc:
        assert "too large" in exc.message
        return
    before = threading.stack_size(256 * 1024)
    try:
        user = threading.Thread(target=allowed, args=(constraint,))
        user.start()
    finally:
        threading.stack_size(before)
    user.join(WITHIN_S)
    assert not user.is_alive()


@pytest.mark.parametrize("rule", ["r{}: r{}\n", "R{}: R{}\n", "r{}: ((r{}))\n"])
def test_long_chains_of_rules_do_not_end_the_process(rule: str) -> None:
    count = 3_500
    first = rule[0]
    rules = "".join(rule.format(n, n + 1) for n in range(count))
    constraint = of_grammar(guide(), f'start: {first}0\n{rules}{first}{count}: "a"\n')
    assert guide().tokenize_str("a")[0] in allowed(constraint)


def refuses(ask: Callable[[], object], path: str, why: str) -> None:
    begun = time.monotonic()
    with pytest.raises(BadRequest) as caught:
        ask()
    assert time.monotonic() - begun < WITHIN_S
    error = caught.value
    assert error.path == path and error.message.startswith(path)
    assert why in error.message
    assert len(error.message) < 500 and "\n" not in error.message
    assert not any(
        inner in error.message for inner in ("verbose", "llguidance", "derivre", "json-schema:")
    )
