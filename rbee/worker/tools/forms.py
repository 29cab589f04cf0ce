"""How a model writes the calls of its tools, as plain data.

The reader takes calls apart by it, the grammar of a forced call is built from it; neither knows the
other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ToolForm:
    """One way of writing calls."""

    name: str
    """`hermes`, `llama3`, `mistral` or `mistral_args`."""
    opening: str
    """The mark before a call (before the first one where calls are `listed`)."""
    closing: str
    """The mark behind it; may be empty."""
    separator: str
    """What stands between two calls. Marks are told without the white space around them."""
    arguments_key: str
    """`arguments` or `parameters`."""
    listed: bool
    """All calls stand inside one JSON array, as in `[TOOL_CALLS] [{...}, {...}]`."""
    inline: bool
    """The name stands outside the JSON, as in `[TOOL_CALLS]name[ARGS]{...}`."""


HERMES = ToolForm("hermes", "<tool_call>", "</tool_call>", "\n", "arguments", False, False)
"""`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`: Hermes, Qwen and `bee`."""
LLAMA3 = ToolForm("llama3", "", "", "; ", "parameters", False, False)
"""`{"name": ..., "parameters": {...}}` as the beginning of the answer, with no mark around it."""
MISTRAL = ToolForm("mistral", "[TOOL_CALLS]", "", ", ", "arguments", True, False)
"""`[TOOL_CALLS] [{"name": ..., "arguments": {...}}, ...]`."""
MISTRAL_ARGS = ToolForm("mistral_args", "[TOOL_CALLS]", "", "", "arguments", False, True)
"""`[TOOL_CALLS]name[ARGS]{...}`, the mark again before each call."""
PYTHON_TAG = "<|python_tag|>"
"""What Llama 3 may write before its first call."""
ARGS, CALL_ID = "[ARGS]", "[CALL_ID]"
"""What stands between the name and the arguments of an `inline` call; an id may come first."""


def form_of(template: str, has_token: Callable[[str], bool]) -> ToolForm:
    """How a model writes calls: by what its template mentions, else by the marks that are tokens of
    its vocabulary. Hermes' form is the one that models without any were most often tuned on."""
    for mentioned in (template.__contains__, has_token):
        if mentioned(MISTRAL.opening):
            return MISTRAL_ARGS if mentioned(ARGS) else MISTRAL
        if mentioned(HERMES.opening):
            return HERMES
        if mentioned(PYTHON_TAG) or _speaks_llama3(template):
            return LLAMA3
    return HERMES


def _speaks_llama3(template: str) -> bool:
    """The smaller models of the family have no mark, but say how a call is written."""
    return "<|start_header_id|>" in template and '"parameters": ' in template


def visible_specials(form: ToolForm) -> set[str]:
    """The marks that must be spelled in the answer's text, also where they are control tokens: the
    reader looks for them there."""
    marks = {form.opening, form.closing}
    if form.name == LLAMA3.name:
        marks.add(PYTHON_TAG)
    if form.inline:
        marks |= {ARGS, CALL_ID}
    return marks - {""}
