"""What a request gives the model to go on from, as token ids: a chat, a text, or a gap to fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from rbee.contracts.chat import Message, Tool
from rbee.contracts.operations import Infer
from rbee.errors import BadRequest, Invalid, PromptTooLong
from rbee.worker.engine.backend import Vocabulary
from rbee.worker.engine.span import ImageSpan, extra
from rbee.worker.reasoning import Marks, is_open
from rbee.worker.sight import READABLE, Eyes, Look, cut, new_mark, pictures_in
from rbee.worker.template import ChatTemplate


@dataclass(frozen=True)
class Prompt:
    ids: list[int]
    text: str
    """As a person would read it: with what the template wrote, without what a gap needs."""
    thinking: bool = False
    """The answer begins inside a span of reasoning."""
    images: Mapping[int, ImageSpan] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """What it costs: a picture may be more tokens than the places it has among the ids."""
        return len(self.ids) + extra(self.images)


@dataclass(frozen=True)
class Prompter:
    """Makes prompts for one model."""

    vocabulary: Vocabulary
    template: ChatTemplate
    bos: str
    marks: Marks | None
    context: int
    eyes: Eyes | None = None

    def of(self, infer: Infer, *, formed: bool) -> Prompt:
        """Raises `BadRequest` and its kind, naming the field. `formed`: the answer must have a form
        from its first token, so a span that the template opens is closed at once."""
        if infer.messages is not None:
            tools = None if infer.tool_choice == "none" else infer.tools
            return self._chat(infer.messages, tools, infer.chat_template_kwargs, formed)
        given = infer.prompt if infer.prompt is not None else ""
        made = self._gap(given, infer.suffix) if infer.suffix is not None else self._ids(given)
        if not made:  # a tokenizer may make nothing of a text
            raise BadRequest("The prompt is empty.", path="$.prompt")
        return Prompt(made, given if isinstance(given, str) else self.spelled(given))

    def again(self, ids: Sequence[int]) -> Prompt:
        """The prompt of an answer that another worker has begun, as that one read it."""
        for token in ids:
            self.check(token, "$.resume.prompt_ids")
        text = self.spelled(ids)
        return Prompt(list(ids), text, self.marks is not None and is_open(text, self.marks))

    def chat_ids(self, rendered: str) -> list[int]:
        """Most templates write the BOS themselves; it must not stand there twice."""
        return self.vocabulary.tokenize(rendered, add_special=not self._begins(rendered))

    def shown_ids(self, messages: Sequence[Message], tools: Sequence[Tool] | None) -> list[int]:
        """A chat's token ids; -1 for each of a picture's."""
        sources = self._pictures_in(messages)
        if not sources:
            return self.chat_ids(self.template.render(messages, tools))
        mark = new_mark()
        rendered = self.template.render(messages, tools, None, mark)
        with self._looking(rendered, mark, sources) as look:
            return look.ids()

    def _begins(self, rendered: str) -> bool:
        """Whether the BOS stands there already."""
        return bool(self.bos) and rendered.startswith(self.bos)

    def fits(self, length: int, path: str, *, room: int = 1) -> int:
        """Tokens left for the answer. Raises `PromptTooLong` when they are fewer than `room`."""
        left = self.context - length
        if left < room:
            raise PromptTooLong(
                f"The prompt has {length} tokens; this worker's context is {self.context},"
                " and the answer needs room in it.",
                hint="shorten it, or start a worker with a larger --ctx",
                path=path,
            )
        return left

    def check(self, token: int, path: str) -> None:
        if not 0 <= token < self.vocabulary.size:
            raise Invalid(
                f"Token {token} is outside the vocabulary of {self.vocabulary.size}.", path=path
            )

    def spelled(self, tokens: Sequence[int]) -> str:
        return b"".join(self.vocabulary.piece(t) for t in tokens).decode("utf-8", "replace")

    def _chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] | None,
        extra: dict[str, Any] | None,
        formed: bool,
    ) -> Prompt:
        sources = self._pictures_in(messages)
        mark = new_mark() if sources else ""
        rendered = self.template.render(messages, tools, extra, mark)
        thinking = self.marks is not None and is_open(rendered, self.marks)
        if thinking and formed and self.marks is not None:
            rendered += f"\n{self.marks.closing}\n\n"
            thinking = False
        if sources:
            return self._seen(rendered, mark, sources, thinking)
        ids = self.chat_ids(rendered)
        if not ids:
            raise BadRequest("The template makes an empty prompt of this chat.", path="$.messages")
        return Prompt(ids, rendered, thinking)

    def _pictures_in(self, messages: Sequence[Message]) -> list[tuple[str, str]]:
        sources = pictures_in(messages)
        if sources and self.eyes is None:
            raise BadRequest(
                "This model cannot see images: it was started without a projector.",
                hint="start the worker with --projector, the model's mmproj file",
                path=sources[0][0],
            )
        return sources

    def _seen(
        self, rendered: str, mark: str, sources: Sequence[tuple[str, str]], thinking: bool
    ) -> Prompt:
        """What is too long is refused before the pictures are computed."""
        with self._looking(rendered, mark, sources) as look:
            self.fits(look.cells, "$.messages")
            seen = look.seen()
        return Prompt(seen.ids, rendered.replace(mark, READABLE), thinking, seen.images)

    def _looking(
        self, rendered: str, mark: str, sources: Sequence[tuple[str, str]]
    ) -> AbstractContextManager[Look]:
        from rbee.worker import images  # ten megabytes that few workers need

        assert self.eyes is not None
        parts = cut(rendered, mark, images.read(sources))
        return self.eyes.looking(parts, add_special=not self._begins(rendered))

    def _ids(
        self, given: str | list[int], path: str = "$.prompt", *, whole: bool = True
    ) -> list[int]:
        """`whole`: with what the model wants at the start."""
        if isinstance(given, str):
            return self.vocabulary.tokenize(given, add_special=whole)
        for token in given:
            self.check(token, path)
        return given

    def _gap(self, before: str | list[int], behind: str) -> list[int]:
        """The prefix, the suffix, and the mark behind which the model writes the middle."""
        marks = self.vocabulary.fim
        if marks is None:
            raise BadRequest(
                "This model cannot fill in the middle: its vocabulary has no tokens for it.",
                hint="leave suffix out, or ask a model made for code",
                path="$.suffix",
            )
        prefix, suffix, middle = marks
        start = self.vocabulary.tokenize("", add_special=True)
        text = self._ids(before, whole=False)
        rest = self.vocabulary.tokenize(behind, add_special=False)
        return [*start, prefix, *text, suffix, *rest, middle]
