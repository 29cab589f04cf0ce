"""How a model writes calls is told by its template, else by its vocabulary."""

from __future__ import annotations

import pytest

from rbee import bee
from rbee.worker.reading import reader_of
from rbee.worker.tools.forms import (
    HERMES,
    LLAMA3,
    MISTRAL,
    MISTRAL_ARGS,
    ToolForm,
    form_of,
    visible_specials,
)
from rbee.worker.tools.hermes import HermesReader
from rbee.worker.tools.llama3 import Llama3Reader
from rbee.worker.tools.mistral import MistralReader

BEE = bee.path().with_name("chat_template.jinja").read_text("utf-8")
SMALL_LLAMA = (
    """{{- '<|start_header_id|>' }}{{- '{"name": "' + name + '", ' }}{{- '"parameters": ' }}"""
)


@pytest.mark.parametrize(
    ("template", "tokens", "form"),
    [
        (BEE, "", HERMES),
        ("", "", HERMES),
        ("{{ messages }}", "", HERMES),
        ("{{ '[TOOL_CALLS] [' }}", "", MISTRAL),
        ("{{ '[TOOL_CALLS]' + name + '[ARGS]' }}", "", MISTRAL_ARGS),
        ("{{ '<|python_tag|>' }}", "", LLAMA3),
        (SMALL_LLAMA, "", LLAMA3),
        ("{{ '<tool_call>' }}", "<|python_tag|>", HERMES),
        ("", "<|python_tag|>", LLAMA3),
        ("", "[TOOL_CALLS]", MISTRAL),
        ("", "[TOOL_CALLS][ARGS]", MISTRAL_ARGS),
    ],
)
def test_the_template_speaks_first(template: str, tokens: str, form: ToolForm) -> None:
    assert form_of(template, tokens.__contains__) == form


def test_the_marks_that_a_reader_looks_for_must_be_spelled() -> None:
    assert visible_specials(HERMES) == {"<tool_call>", "</tool_call>"}
    assert visible_specials(LLAMA3) == {"<|python_tag|>"}
    assert visible_specials(MISTRAL) == {"[TOOL_CALLS]"}
    assert visible_specials(MISTRAL_ARGS) == {"[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"}


def test_every_form_has_a_reader() -> None:
    kinds = [type(reader_of(form, frozenset())) for form in (HERMES, LLAMA3, MISTRAL, MISTRAL_ARGS)]
    assert kinds == [HermesReader, Llama3Reader, MistralReader, MistralReader]
