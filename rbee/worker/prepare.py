"""A loaded model, and what a request means to it: prompt ids, limits, sampling, constraint.

Everything here runs outside the event loop (templates and tokenizers take milliseconds) and
touches nothing of the engine; what is wrong with a request is said here.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rbee.contracts.operations import Infer
from rbee.contracts.worker_api import ApplyTemplate, Resume, Tokenize
from rbee.errors import BadRequest, Invalid
from rbee.worker.engine.backend import Vocabulary
from rbee.worker.engine.constraint import Constraint
from rbee.worker.engine.sampling import Sampling
from rbee.worker.engine.span import ImageSpan, extra
from rbee.worker.forced import constraint_of, has_form, offered
from rbee.worker.prompt import Prompter
from rbee.worker.reading import Reading
from rbee.worker.reasoning import Marks
from rbee.worker.refusals import check, check_echo
from rbee.worker.sight import READABLE, Eyes
from rbee.worker.template import ChatTemplate
from rbee.worker.tools.forms import HERMES, ToolForm

DEFAULTS = Sampling(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05)
"""llama.cpp's, for models that recommend nothing."""


@dataclass(frozen=True)
class Prepared:
    """A request in the engine's terms."""

    prompt: list[int]
    limit: int
    sampling: Sampling
    constraint: Constraint | None
    reading: Reading
    """What is to be looked for in the answer: tool calls, reasoning."""
    namespace: str = ""
    """Only requests of the same one share what has been computed."""
    adapter: str = ""
    text: str = ""
    """The prompt as a person would read it."""
    echo: bool = False
    ignore_eos: bool = False
    deterministic: bool = False
    images: Mapping[int, ImageSpan] = field(default_factory=dict)
    """Pictures, by the place in the prompt where each begins."""

    @property
    def prompt_tokens(self) -> int:
        """What the prompt costs: a picture may be more tokens than the places it has."""
        return len(self.prompt) + extra(self.images)

    @property
    def heard(self) -> list[int]:
        """The prompt's tokens that are text."""
        return [token for token in self.prompt if token >= 0] if self.images else self.prompt


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
    form: ToolForm = HERMES
    """How the model writes calls of tools."""
    marks: Marks | None = None
    """What its reasoning stands between, if it reasons."""
    adapters: tuple[str, ...] = ()
    """LoRA adapters that a request may name."""
    speculate_tokens: int = 0
    """Tokens that may be guessed at most in one step."""
    generates: bool = True
    embeds: bool = True
    eyes: Eyes | None = None
    """What lets it see, when it was started with a projector."""
    pairs: Callable[[str, Sequence[str]], Iterable[list[int]]] | None = None
    """Makes the inputs of a query with each document; None where the model does not rank."""

    def prepare(self, infer: Infer, resume: Resume | None = None) -> Prepared:
        """Raises `BadRequest` and its kind, naming the field. `resume`: another worker has begun
        the answer, and read the prompt as it says."""
        if not self.generates:
            raise BadRequest("This model makes vectors, it does not generate.", path="$.model")
        check(infer)
        tools, formed = offered(infer), has_form(infer)
        known = resume.prompt_ids if resume is not None else None
        prompter = self._prompter
        prompt = prompter.of(infer, formed=formed) if known is None else prompter.again(known)
        check_echo(infer, prompt.tokens)
        reading = Reading(
            form=self.form if tools else None,
            offered=frozenset(tool.function.name for tool in tools),
            several=infer.parallel_tool_calls,
            marks=None if formed or infer.messages is None else self.marks,
            thinking=prompt.thinking,
        )
        return Prepared(
            prompt.ids,
            self._limit(infer, prompt.tokens),
            self.sampling(infer),
            constraint_of(infer, self.guide, self.form),
            reading,
            namespace=f"{self._adapter(infer.lora)}/{infer.cache_salt or ''}",
            adapter=self._adapter(infer.lora),
            text=prompt.text,
            echo=infer.echo,
            ignore_eos=infer.ignore_eos,
            deterministic=infer.deterministic,
            images=prompt.images,
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
            self._prompter.check(token, "$.logit_bias")
        return replace(self.recommended, bias=bias, **given)

    def tokenize(self, request: Tokenize) -> list[int]:
        if (request.text is None) == (request.messages is None):
            raise Invalid("Give either text or messages.", path="$.text")
        if request.text is not None and request.tools is not None:
            raise Invalid("Tools belong to messages: a text has none.", path="$.tools")
        if request.messages is not None and not request.add_special:
            raise Invalid("A chat's template says what stands at its start.", path="$.add_special")
        if request.messages is not None:
            return self._prompter.shown_ids(request.messages, request.tools)
        return self.vocabulary.tokenize(request.text or "", add_special=request.add_special)

    def apply_template(self, request: ApplyTemplate) -> str:
        """The chat as the model would read it."""
        values = request.chat_template_kwargs
        return self.template.render(request.messages, request.tools, values, READABLE)

    def detokenize(self, tokens: Sequence[int]) -> str:
        for token in tokens:
            self._prompter.check(token, "$.tokens")
        return self._prompter.spelled(tokens)

    @property
    def _prompter(self) -> Prompter:
        return Prompter(
            self.vocabulary, self.template, self.bos, self.marks, self.context, self.eyes
        )

    def _limit(self, infer: Infer, length: int) -> int:
        """New tokens at most. Raises `PromptTooLong` when there is no room for one."""
        path = "$.messages" if infer.messages else "$.prompt"
        room = self._prompter.fits(length, path, room=int(infer.max_tokens != 0))
        return room if infer.max_tokens is None else min(room, infer.max_tokens)

    def _adapter(self, name: str | None) -> str:
        if name is not None and name not in self.adapters:
            known = ", ".join(self.adapters) or "none"
            raise BadRequest(
                f"This worker has no adapter {name!r}; it was started with: {known}.",
                path="$.lora",
            )
        return name or ""
