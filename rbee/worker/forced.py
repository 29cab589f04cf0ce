"""What an answer must look like, if a request says so: a form, or a call of a tool.

1. At most one of the forms may be asked for; a call that must come is one of them.
2. An answer that must have a form has it from its first token: such an answer is not preceded by
   any thoughts.
3. Where calls are left to the model, their arguments follow the schema if a tool is `strict`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rbee.contracts.chat import NamedTool, Tool
from rbee.contracts.operations import Infer
from rbee.errors import BadRequest, Invalid
from rbee.worker.engine.constraint import (
    Constraint,
    of_auto_tools,
    of_grammar,
    of_regex,
    of_schema,
    of_tools,
)
from rbee.worker.tools.forms import ToolForm


def has_form(infer: Infer) -> bool:
    """Whether the answer must have a form from its first token on. Raises `Invalid` for two."""
    forms = [f for f in ("json_schema", "grammar", "regex") if getattr(infer, f) is not None]
    forms += ["tool_choice"] if forces_call(infer) else []
    if len(forms) > 1:
        raise Invalid(
            f"{forms[0]} and {forms[1]} exclude each other: an answer has one form.",
            path=f"$.{forms[1]}",
        )
    return len(forms) == 1


def forces_call(infer: Infer) -> bool:
    return infer.tool_choice == "required" or isinstance(infer.tool_choice, NamedTool)


def offered(infer: Infer) -> list[Tool]:
    """The tools that may be called; when one must be, the right ones, and at least one."""
    tools = list(infer.tools or ())
    if infer.tool_choice == "none":
        return []
    if isinstance(infer.tool_choice, NamedTool):
        name = infer.tool_choice.function.name
        tools = [t for t in tools if t.function.name == name]
        if not tools:
            raise Invalid(
                f"tool_choice names {name!r}, which is not among tools.", path="$.tool_choice"
            )
    if forces_call(infer) and not tools:
        raise Invalid("tool_choice needs tools.", path="$.tool_choice")
    return tools


def constraint_of(
    infer: Infer, guide: Callable[[], Any] | None, form: ToolForm
) -> Constraint | None:
    """None where anything may be said. Raises `BadRequest` saying what cannot be used."""
    tools = offered(infer)
    formed = has_form(infer)
    if not formed and not any(tool.function.strict for tool in tools):
        return None
    if guide is None:
        raise BadRequest("This worker cannot constrain its output.")
    tokenizer, several = guide(), infer.parallel_tool_calls
    if infer.json_schema is not None:
        return of_schema(tokenizer, infer.json_schema)
    if infer.grammar is not None:
        return of_grammar(tokenizer, infer.grammar)
    if infer.regex is not None:
        return of_regex(tokenizer, infer.regex)
    make = of_tools if formed else of_auto_tools
    return make(tokenizer, tools, form, several=several)
