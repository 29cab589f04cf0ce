"""Output that must follow a JSON schema, a grammar or a tool call: llguidance masks the logits.

A constraint belongs to one sequence; it is compiled outside the engine thread and used inside.
Its state follows from the tokens alone, so that it can be advanced anew on another worker.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.gbnf_to_lark import any_to_lark
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from rbee.contracts.chat import Tool
from rbee.errors import BadRequest
from rbee.worker.engine.backend import Row


class Constraint:
    """What may come next. `source` is llguidance's own form of the grammar."""

    def __init__(self, tokenizer: LLTokenizer, source: str, path: str) -> None:
        self._matcher = LLMatcher(tokenizer, source)
        if self._matcher.is_error():
            raise _unusable(path, self._matcher.get_error())
        self._mask = allocate_token_bitmask(1, tokenizer.vocab_size)

    def fresh(self) -> Constraint:
        """A copy for another choice, made before the first token; nothing is compiled again."""
        made = copy.copy(self)
        made._matcher = self._matcher.deep_copy()
        made._mask = self._mask.copy()
        return made

    def apply(self, row: Row) -> None:
        """Make what is forbidden impossible, in place."""
        fill_next_token_bitmask(self._matcher, self._mask)
        allowed = np.unpackbits(self._mask.view(np.uint8), bitorder="little")[: len(row)]
        row[: len(allowed)][allowed == 0] = -np.inf
        row[len(allowed) :] = -np.inf

    def accept(self, token: int) -> None:
        self._matcher.consume_token(token)

    @property
    def failure(self) -> str:
        """Why the text no longer fits (llguidance gave up); empty while all is well."""
        return str(self._matcher.get_error()).partition("\n")[0] if self._matcher.is_error() else ""

    @property
    def complete(self) -> bool:
        """Nothing can follow any more; also so after a failure."""
        return bool(self._matcher.is_stopped())


def _unusable(path: str, why: object) -> BadRequest:
    return BadRequest(f"{path} is not usable: {str(why)[:500].strip().rstrip('.')}.", path=path)


def of_schema(tokenizer: LLTokenizer, schema: dict[str, Any] | bool) -> Constraint:
    """JSON that fits the schema. Raises `BadRequest` saying what in it cannot be used."""
    path = "$.json_schema"
    try:
        source = LLMatcher.grammar_from_json_schema(json.dumps(schema))
    except (ValueError, RecursionError) as exc:
        raise _unusable(path, exc) from exc
    return Constraint(tokenizer, source, path)


def of_grammar(tokenizer: LLTokenizer, grammar: str) -> Constraint:
    """Text that fits a GBNF (or Lark) grammar."""
    path = "$.grammar"
    try:
        source = LLMatcher.grammar_from_lark(any_to_lark(grammar))
    except Exception as exc:  # the converter raises bare `Exception` for what it cannot read
        raise _unusable(path, exc) from exc
    return Constraint(tokenizer, source, path)


def of_tools(tokenizer: LLTokenizer, tools: Sequence[Tool]) -> Constraint:
    """Exactly one call of one of `tools`, in the Hermes form `<tool_call>{...}</tool_call>`."""
    calls = [_call_schema(tool) for tool in tools]
    schema = json.dumps({"anyOf": calls} if len(calls) > 1 else calls[0])
    opening, closing = (_literal(tokenizer, mark) for mark in ("<tool_call>", "</tool_call>"))
    lark = f'start: {opening} "\\n" call "\\n" {closing}\ncall: %json {schema}\n'
    return Constraint(tokenizer, LLMatcher.grammar_from_lark(lark), "$.tools")


def _call_schema(tool: Tool) -> dict[str, Any]:
    arguments = tool.function.parameters or {"type": "object"}
    return {
        "type": "object",
        "properties": {"name": {"const": tool.function.name}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _literal(tokenizer: LLTokenizer, mark: str) -> str:
    """A mark that is one special token of this model is named as such, else spelled."""
    ids = tokenizer.tokenize_str(mark)
    special = len(ids) == 1 and tokenizer.is_special_token(ids[0])
    return mark if special else json.dumps(mark)
