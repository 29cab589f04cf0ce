"""Tool calls that cannot go wrong, in the form that the model was trained on.

A call's name and its braces are written by us, as literal text; only the arguments are the model's,
under the tool's own schema (so that references inside it mean what they meant). A mark that is one
token of the model is demanded as that token; another mark is spelled. In Lark, `calls` is one call
or several, `marked` one call with its marks, `body` what follows an opening mark.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from typing import Any

from llguidance import LLTokenizer

from rbee.contracts.chat import FunctionSpec, Tool
from rbee.errors import BadRequest
from rbee.worker.engine.constraint.compiling import Unusable, of_json_schema, of_lark
from rbee.worker.engine.constraint.matcher import Constraint
from rbee.worker.engine.constraint.reasons import in_short, refused
from rbee.worker.engine.constraint.schema import fault, prepared_schema
from rbee.worker.tools.forms import ARGS, ToolForm

PATH = "$.tools"
MOST_BYTES = 512 * 1024


def of_tools(
    tokenizer: LLTokenizer, tools: Sequence[Tool], form: ToolForm, *, several: bool
) -> Constraint:
    """Calls of `tools` and nothing else: exactly one, or one and more where `several`."""
    rules = _rules(tokenizer, tools, form, several)
    return _compiled(tokenizer, ["start: calls", *rules], tools)


def of_auto_tools(
    tokenizer: LLTokenizer, tools: Sequence[Tool], form: ToolForm, *, several: bool
) -> Constraint:
    """Free text, in which a valid call follows every opening mark. Where the form has none, an
    answer that begins like a call is one. After the only call allowed the answer ends."""
    rules = _rules(tokenizer, tools, form, several)
    known = special_tokens(tokenizer)
    aside = _others(tokenizer, form)
    if not form.opening:
        start = _calls_or_text(aside)
    elif form.opening in known:
        start = _text_and_calls(form, several, aside)
    else:
        start = _text_and_spelled_calls(form, several, aside)
    return _compiled(tokenizer, [*start, *rules], tools)


@functools.lru_cache(maxsize=4)
def special_tokens(tokenizer: LLTokenizer) -> dict[str, int]:
    """Every special token by its spelling."""
    found = filter(tokenizer.is_special_token, range(tokenizer.vocab_size))
    return {tokenizer.decode_str([token]): token for token in found}


def _others(tokenizer: LLTokenizer, form: ToolForm) -> str:
    """The special tokens that neither belong to a call nor end the answer (`<think>`)."""
    known = special_tokens(tokenizer)
    ours = {known.get(mark) for mark in (form.opening, form.closing, ARGS)}
    others = set(known.values()) - ours - set(tokenizer.eos_tokens)
    return f"<[{','.join(map(str, sorted(others)))}]>" if others else ""


def _calls_or_text(aside: str) -> list[str]:
    more = f" ({aside} TEXT)*" if aside else ""
    other = r'OTHER: TEXT & ~/\s*\{\s*"name"(?s:.*)/'
    return [f"start: calls | OTHER{more}", other, "TEXT: /(?s:.*)/"]


def _text_and_calls(form: ToolForm, several: bool, aside: str) -> list[str]:
    """The mark is a token, which text cannot contain. Its spelling is kept out of the text as well:
    whoever reads the answer would take it for the mark."""
    text = f"TEXT: /(?s:.*)/ & ~/(?s:.*){_quoted(form.opening)}(?s:.*)/"
    if several and not form.listed:
        options = f"marked | {aside}" if aside else "marked"
        return [f"start: TEXT (({options}) TEXT)*", text]
    more = f" ({aside} TEXT)*" if aside else ""
    return [f"start: TEXT{more} calls?", text]


def _text_and_spelled_calls(form: ToolForm, several: bool, aside: str) -> list[str]:
    """A lazy head ends with the first mark in the text, whatever else could go on there."""
    head = f"head[lazy]: /(?s:.*){_quoted(form.opening)}/"
    more = f"(TEXT {aside})* " if aside else ""
    last = "(head body | TEXT)"
    if several and not form.listed:
        more, last = f"({f'TEXT {aside} | ' if aside else ''}head body)* ", "TEXT"
    return [f"start: {more}{last}", head, "TEXT: /(?s:.*)/"]


def _rules(
    tokenizer: LLTokenizer, tools: Sequence[Tool], form: ToolForm, several: bool
) -> list[str]:
    opening, closing, args = _marks(tokenizer, form)
    between = json.dumps(form.separator) if form.separator else ""
    pad = r'"\n"' if form.closing else ""
    if form.listed:
        more = f" ({between} call)*" if several else ""
        body, calls = f'" "? "[" call{more} "]" {closing}', "marked"
    else:
        body = f"{pad} call {pad} {closing}"
        calls = f"marked ({between} marked)*" if several else "marked"
    numbered = list(enumerate(tools))
    choices = " | ".join(_call(form, tool.function.name, args, n) for n, tool in numbered)
    return [
        f"calls: {calls}",
        f"marked: {opening} body",
        f"body: {body}",
        f"call: {choices}",
        *(f"args_{n}: %json {json.dumps(_arguments(tool.function, n))}" for n, tool in numbered),
    ]


def _marks(tokenizer: LLTokenizer, form: ToolForm) -> tuple[str, str, str]:
    """Opening, closing and `ARGS` as Lark names them for this model."""
    known = special_tokens(tokenizer)

    def named(mark: str) -> str:
        if mark and mark in known:  # there are special tokens of no spelling
            return f"<[{known[mark]}]>"
        return json.dumps(mark) if mark else ""

    return named(form.opening), named(form.closing), named(ARGS)


def _call(form: ToolForm, name: str, args: str, number: int) -> str:
    if form.inline:
        return f"{json.dumps(name)} {args} args_{number}"
    head = f'{{"name": {json.dumps(name)}, {json.dumps(form.arguments_key)}: '
    return f'{json.dumps(head)} args_{number} "}}"'


def _arguments(function: FunctionSpec, number: int) -> dict[str, Any]:
    """Arguments are an object, whatever else their schema says or leaves open."""
    schema: dict[str, Any] = {"type": "object", **(function.parameters or {})}
    return prepared_schema(schema, PATH, _inside(number), lenient=not function.strict)


def _compiled(tokenizer: LLTokenizer, rules: list[str], tools: Sequence[Tool]) -> Constraint:
    lark = "\n".join([*rules, ""])
    if len(lark) > MOST_BYTES:
        raise refused(PATH, f"they have {len(lark)} bytes together, {MOST_BYTES} at most")
    try:
        return of_lark(tokenizer, lark)
    except Unusable as exc:
        raise _blamed(tokenizer, tools, str(exc)) from exc


def _blamed(tokenizer: LLTokenizer, tools: Sequence[Tool], error: str) -> BadRequest:
    """The first tool that cannot be used alone."""
    for number, tool in enumerate(tools):
        schema = _arguments(tool.function, number)
        try:
            of_json_schema(tokenizer, schema)
        except Unusable as exc:
            return fault(schema, str(exc), PATH, inside=_inside(number))
    return refused(PATH, in_short(error))


def _inside(number: int) -> str:
    return f"[{number}].function.parameters"


def _quoted(mark: str) -> str:
    """For a regular expression between slashes."""
    return re.escape(mark).replace("/", r"\/")
