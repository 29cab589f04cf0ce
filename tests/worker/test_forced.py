"""Whatever a model says under the grammar of a call, the reader of its form finds the calls."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLTokenizer

from rbee.contracts.chat import FunctionSpec, Tool
from rbee.worker.engine.constraint import Constraint, of_auto_tools, of_tools
from rbee.worker.reading import reader_of
from rbee.worker.tools.forms import HERMES, LLAMA3, MISTRAL, MISTRAL_ARGS, ToolForm
from tests.worker.tools.reads import read

FORMS = [HERMES, LLAMA3, MISTRAL, MISTRAL_ARGS]
NASTY = ["}{", "</tool_call>", '"; {', "[ARGS]", "[TOOL_CALLS]", "\\", "é🐝", ""]
SCHEMA = {
    "type": "object",
    "properties": {"x": {"enum": NASTY}, "y": {"type": "boolean"}},
    "required": ["x"],
    "additionalProperties": False,
}
TOOLS = [Tool(FunctionSpec(name, parameters=SCHEMA, strict=True)) for name in ("f", "g.h-i_2")]
NAMES = frozenset(tool.function.name for tool in TOOLS)
BYTES = LLTokenizer("byte")
SPECIAL = 255
"""From here to the end token: part of no text."""
MOST_TOKENS = 400


def babble(constraint: Constraint, seed: int) -> str | None:
    """What a model without any sense says under it; None when it does not come to an end."""
    draw, said = np.random.default_rng(seed), bytearray()
    for _ in range(MOST_TOKENS):
        row = draw.random(BYTES.vocab_size, np.float32)
        row[SPECIAL : BYTES.eos_token] = -np.inf
        constraint.apply(row)
        token = int(row.argmax())
        constraint.accept(token)
        assert not constraint.failure
        if token != BYTES.eos_token:
            said.append(token)
        if token == BYTES.eos_token or constraint.complete:
            return said.decode()
    return None


def calls_in(form: ToolForm, text: str) -> tuple[str, list[str]]:
    """The text around the calls, and their names; checks what they are called with."""
    said, calls = read(lambda: reader_of(form, NAMES), list(text))
    for name, arguments in calls:
        assert name in NAMES and json.loads(arguments)["x"] in NASTY
    return said, [name for name, _ in calls]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@given(seed=st.integers(0, 2**32))
def test_the_one_call_demanded_is_found(form: ToolForm, seed: int) -> None:
    text = babble(of_tools(BYTES, TOOLS, form, several=False), seed)
    assert text is not None
    said, names = calls_in(form, text)
    assert said == "" and len(names) == 1


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@given(seed=st.integers(0, 2**32))
def test_all_calls_demanded_are_found(form: ToolForm, seed: int) -> None:
    text = babble(of_tools(BYTES, TOOLS, form, several=True), seed)
    if text is not None:
        said, names = calls_in(form, text)
        assert said == "" and len(names) >= 1


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@given(seed=st.integers(0, 2**32), several=st.booleans())
def test_a_call_begun_by_itself_is_found(form: ToolForm, seed: int, several: bool) -> None:
    constraint = of_auto_tools(BYTES, TOOLS, form, several=several)
    opening = form.opening or '{"name": "f", '
    for byte in opening.encode():
        constraint.accept(byte)
        assert not constraint.failure
    text = babble(constraint, seed)
    if text is not None:
        assert calls_in(form, opening + text)[1]
