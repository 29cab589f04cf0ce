"""A loaded model, and what a request means to it: prompt ids, limits, sampling, constraint.

Everything here runs outside the event loop (templates and tokenizers take milliseconds) and
touches nothing of the engine; what is wrong with a request is said here.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rbee.contracts.chat import NamedTool, Tool
from rbee.contracts.operations import Infer
from rbee.contracts.worker_api import Tokenize
from rbee.errors import BadRequest, Invalid, PromptTooLong
from rbee.worker.engine.backend import Vocabulary
from rbee.worker.engine.constraint import Constraint, of_grammar, of_schema, of_tools
from rbee.worker.engine.sampling import Sampling
from rbee.worker.template import ChatTemplate

DEFAULTS = Sampling(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05)
"""llama.cpp's, for models that recommend nothing."""


@dataclass(frozen=True)
class Prepared:
    """A request in the engine's terms."""

    prompt: list[int]
    limit: int
    sampling: Sampling
    constraint: Constraint | None
    tools: bool
    """Whether tool calls are to be looked for in the answer."""


@dataclass
class LoadedModel:
    """What the service knows of the model. `guide` makes llguidance's tokenizer, or None where the
    backend has none."""

    id: str
    path: Path
    sha256: str
    slots: int
    context: int
    vocabulary: Vocabulary
    template: ChatTemplate
    bos: str = ""
    guide: Any = None
    recommended: Sampling = DEFAULTS

    def prepare(self, infer: Infer) -> Prepared:
        """Raises `BadRequest` and its kind, naming the field."""
        prompt = self._prompt(infer)
        if len(prompt) >= self.context:
            raise PromptTooLong(
                f"The prompt has {len(prompt)} tokens; this worker's context is {self.context},"
                " and the answer needs room in it.",
                hint="shorten it, or start a worker with a larger --ctx",
                path="$.messages" if infer.messages else "$.prompt",
            )
        room = self.context - len(prompt)
        return Prepared(
            prompt,
            min(room, infer.max_tokens or room),
            self.sampling(infer),
            self._constraint(infer),
            bool(infer.tools) and infer.tool_choice != "none",
        )

    def sampling(self, infer: Infer) -> Sampling:
        """The request's parameters over the model's recommendation."""
        given = {
            name: value
            for name in Sampling.__dataclass_fields__
            if (value := getattr(infer, name, None)) is not None
        }
        given["seed"] = secrets.randbits(63) if infer.seed is None else infer.seed
        bias = {int(k): v for k, v in (infer.logit_bias or {}).items()}
        for token in bias:
            self._check_token(token, "$.logit_bias")
        return replace(self.recommended, bias=bias, **given)

    def tokenize(self, request: Tokenize) -> list[int]:
        if (request.text is None) == (request.messages is None):
            raise Invalid("Give either text or messages.", path="$.text")
        if request.messages is not None:
            return self._chat_ids(self.template.render(request.messages, request.tools))
        return self.vocabulary.tokenize(request.text or "", add_special=request.add_special)

    def detokenize(self, tokens: Sequence[int]) -> str:
        for token in tokens:
            self._check_token(token, "$.tokens")
        return b"".join(self.vocabulary.piece(t) for t in tokens).decode("utf-8", "replace")

    def embed_inputs(self, inputs: Sequence[str | list[int]]) -> list[list[int]]:
        """Token ids of each input, checked against vocabulary and context."""
        made = []
        for number, item in enumerate(inputs):
            path = f"$.input[{number}]"
            ids = self._ids(item, path)
            if not ids:
                raise BadRequest(f"{path} is empty: there is nothing to embed.", path=path)
            if len(ids) > self.context:
                raise PromptTooLong(
                    f"{path} has {len(ids)} tokens; this worker's context is {self.context}.",
                    path=path,
                )
            made.append(ids)
        return made

    def _prompt(self, infer: Infer) -> list[int]:
        if (infer.prompt is None) == (infer.messages is None):
            raise Invalid(
                "Give either messages (a chat) or prompt (a completion).", path="$.prompt"
            )
        if infer.messages is None:
            ids = self._ids(infer.prompt or "", "$.prompt")
        else:
            tools = None if infer.tool_choice == "none" else infer.tools
            ids = self._chat_ids(self.template.render(infer.messages, tools))
        if not ids:
            raise BadRequest("The prompt is empty.", path="$.prompt")
        return ids

    def _chat_ids(self, rendered: str) -> list[int]:
        """Most templates write the BOS themselves; it must not stand there twice."""
        has_bos = bool(self.bos) and rendered.startswith(self.bos)
        return self.vocabulary.tokenize(rendered, add_special=not has_bos)

    def _ids(self, given: str | list[int], path: str) -> list[int]:
        if isinstance(given, str):
            return self.vocabulary.tokenize(given, add_special=True)
        for token in given:
            self._check_token(token, path)
        return given

    def _check_token(self, token: int, path: str) -> None:
        if not 0 <= token < self.vocabulary.size:
            raise Invalid(
                f"Token {token} is outside the vocabulary of {self.vocabulary.size}.", path=path
            )

    def _constraint(self, infer: Infer) -> Constraint | None:
        wanted = [infer.json_schema is not None, infer.grammar is not None, _forces_call(infer)]
        if not any(wanted):
            return None
        if sum(wanted) > 1:
            raise Invalid("json_schema, grammar and a forced tool exclude each other.")
        if self.guide is None:
            raise BadRequest("This worker cannot constrain its output.")
        tokenizer = self.guide()
        if infer.json_schema is not None:
            return of_schema(tokenizer, infer.json_schema)
        if infer.grammar is not None:
            return of_grammar(tokenizer, infer.grammar)
        return of_tools(tokenizer, _offered(infer))


def _forces_call(infer: Infer) -> bool:
    return infer.tool_choice == "required" or isinstance(infer.tool_choice, NamedTool)


def _offered(infer: Infer) -> list[Tool]:
    """The tools one of which must be called."""
    tools = infer.tools or []
    if isinstance(infer.tool_choice, NamedTool):
        name = infer.tool_choice.function.name
        tools = [t for t in tools if t.function.name == name]
        if not tools:
            raise Invalid(
                f"tool_choice names {name!r}, which is not among tools.", path="$.tool_choice"
            )
    if not tools:
        raise Invalid("tool_choice needs tools.", path="$.tool_choice")
    return tools
