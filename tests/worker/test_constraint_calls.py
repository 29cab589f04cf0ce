"""Tool calls that a constraint enforces: in every form, with and without free text."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rbee.contracts.chat import FunctionSpec, Tool
from rbee.worker.engine.constraint import of_auto_tools, of_tools
from rbee.worker.reading import reader_of
from rbee.worker.tools.forms import HERMES, LLAMA3, MISTRAL, MISTRAL_ARGS, ToolForm
from tests.worker.guides import CALL, CALL_END, allowed, follows, guide, vocabulary, whole
from tests.worker.test_constraint_walks import check, thing

WEATHER = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/city"}},
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"city": {"enum": ["Rome", "<tool_call>"]}},
}
TOOLS = [
    Tool(FunctionSpec("weather", parameters=WEATHER, strict=True)),
    Tool(FunctionSpec("weather_now", parameters={"properties": {"x": {"type": "integer"}}})),
    Tool(FunctionSpec("stop")),
]
NOW = '{"name": "weather_now", "arguments": {"x": 1}}'
ROME = '{"name": "weather", "arguments": {"city":"Rome"}}'
Parts = list[str | int]


def hermes(call: str) -> Parts:
    return [CALL, f"\n{call}\n", CALL_END]


def llama(call: str) -> str:
    return call.replace("arguments", "parameters")


ONE: dict[str, tuple[ToolForm, Parts]] = {
    "hermes": (HERMES, hermes(ROME)),
    "llama3": (LLAMA3, [llama(ROME)]),
    "mistral": (MISTRAL, [f"[TOOL_CALLS] [{ROME}]"]),
    "mistral, tight": (MISTRAL, [f"[TOOL_CALLS][{ROME}]"]),
    "mistral_args": (MISTRAL_ARGS, ['[TOOL_CALLS]weather[ARGS]{"city":"Rome"}']),
}
TWO: dict[str, tuple[ToolForm, Parts]] = {
    "hermes": (HERMES, [*hermes(ROME), "\n", *hermes(NOW)]),
    "llama3": (LLAMA3, [f"{llama(ROME)}; {llama(NOW)}"]),
    "mistral": (MISTRAL, [f"[TOOL_CALLS] [{ROME}, {NOW}]"]),
    "mistral_args": (
        MISTRAL_ARGS,
        ['[TOOL_CALLS]weather[ARGS]{"city":"Rome"}[TOOL_CALLS]weather_now[ARGS]{"x": 1}'],
    ),
}


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", ONE)
def test_a_forced_call(name: str, several: bool) -> None:
    form, parts = ONE[name]
    constraint = of_tools(guide(), TOOLS, form, several=several)
    assert whole(constraint, *parts)
    if not several:
        assert constraint.complete or all(map(vocabulary().is_end, allowed(constraint)))


@pytest.mark.parametrize("name", TWO)
def test_several_forced_calls(name: str) -> None:
    form, parts = TWO[name]
    assert whole(of_tools(guide(), TOOLS, form, several=True), *parts)
    assert not whole(of_tools(guide(), TOOLS, form, several=False), *parts)


@pytest.mark.parametrize(
    "parts",
    [
        ["Sure!"],
        [CALL, '\n{"name": "unknown'],
        [CALL, '\n{"name": "weather", "arguments": {"city":"Paris'],
        [CALL, '\n{"name": "weather", "arguments": {}'],
        [CALL, '\n{"name": "weather_now", "arguments": {"x": "a"'],
        [CALL, '\n{"name": "stop", "arguments": []'],
        ["<tool_call>"],
    ],
)
def test_what_no_forced_call_may_be(parts: Parts) -> None:
    assert not follows(of_tools(guide(), TOOLS, HERMES, several=True), *parts)


def test_names_that_begin_alike_and_tools_without_parameters() -> None:
    for call in (
        NOW,
        '{"name": "stop", "arguments": {}}',
        '{"name": "stop", "arguments": {"a":[1]}}',
    ):
        assert whole(of_tools(guide(), TOOLS, HERMES, several=False), *hermes(call)), call


def test_a_mark_inside_the_arguments_is_text() -> None:
    call = '{"name": "weather", "arguments": {"city":"<tool_call>"}}'
    assert whole(of_tools(guide(), TOOLS, HERMES, several=False), *hermes(call))


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", ONE)
def test_automatic_calls(name: str, several: bool) -> None:
    form, parts = ONE[name]
    before: Parts = [] if form is LLAMA3 else ["Let me see. "]
    assert whole(of_auto_tools(guide(), TOOLS, form, several=several), *before, *parts)
    assert whole(of_auto_tools(guide(), TOOLS, form, several=several), 'No: {"a": 1} <tool')


@pytest.mark.parametrize("name", TWO)
def test_several_automatic_calls(name: str) -> None:
    form, parts = TWO[name]
    assert whole(of_auto_tools(guide(), TOOLS, form, several=True), *parts)
    assert not whole(of_auto_tools(guide(), TOOLS, form, several=False), *parts)


@pytest.mark.parametrize(
    ("form", "parts"),
    [
        (HERMES, ["Hm ", CALL, '\n{"name": "unknown']),
        (HERMES, ["Hm ", CALL, "x"]),
        (HERMES, ["spelled: <tool_call>"]),
        (HERMES, [*hermes(NOW), " and ", CALL, '\n{"name": "weather", "arguments": {"city":"P']),
        (LLAMA3, ['{"name": "unknown']),
        (LLAMA3, [' {"name": ']),
        (MISTRAL, ["Hm [TOOL_CALLS]{"]),
        (MISTRAL, ['Hm [TOOL_CALLS] [{"name": "unknown']),
        (MISTRAL_ARGS, ["[TOOL_CALLS]unknown"]),
    ],
)
def test_a_call_once_begun_must_be_valid(form: ToolForm, parts: Parts) -> None:
    assert not follows(of_auto_tools(guide(), TOOLS, form, several=True), *parts)


def test_text_goes_on_after_a_call_and_other_special_tokens_are_free() -> None:
    other = 5
    parts: Parts = ["a", other, "b", *hermes(NOW), "c\n", *hermes(ROME), "d"]
    assert whole(of_auto_tools(guide(), TOOLS, HERMES, several=True), *parts)


def test_the_answer_ends_with_its_only_call() -> None:
    constraint = of_auto_tools(guide(), TOOLS, HERMES, several=False)
    assert whole(constraint, "a", *hermes(NOW))
    assert constraint.complete or all(map(vocabulary().is_end, allowed(constraint)))


ARGUMENTS: list[dict[str, Any]] = [
    {"type": "integer"},
    {"enum": ["a", "<tool_call>", "</tool_call>", '"}]', "[TOOL_CALLS]", "; {"]},
    {"type": "string", "maxLength": 6},
]
SPELLED = {CALL: b"<tool_call>", CALL_END: b"</tool_call>"}


@pytest.mark.parametrize("form", [HERMES, LLAMA3, MISTRAL, MISTRAL_ARGS], ids=lambda f: f.name)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), several=st.booleans())
def test_random_forced_calls_are_read_as_calls(form: ToolForm, seed: int, several: bool) -> None:
    """Whatever the model says: calls that fit come out, and no text beside them."""
    draw, tokens = random.Random(seed), list[int]()
    tools = [
        Tool(FunctionSpec(f"f{n}", parameters=thing({"x": kind})))
        for n, kind in enumerate(ARGUMENTS)
    ]
    constraint = of_tools(guide(), tools, form, several=several)
    while not constraint.complete and len(tokens) < 1_000:
        tokens.append(draw.choice(allowed(constraint)))
        constraint.accept(tokens[-1])
    assume(constraint.complete)
    assert constraint.failure == ""
    text = b"".join(SPELLED.get(t) or vocabulary().piece(t) for t in tokens).decode()
    names = {tool.function.name: tool.function.parameters for tool in tools}
    words, calls = reader_of(form, frozenset(names)).feed(text, final=True)
    assert calls and not words.strip(), text
    assert several or len(calls) == 1
    for call in calls:
        schema = names[call.function.name]
        check(json.loads(call.function.arguments), schema, schema or {})
