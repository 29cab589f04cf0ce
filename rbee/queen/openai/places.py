"""Where a fault lies, in the words of the dialect that was spoken. Pure.

A request is checked as rbee's own `infer` (here and by the worker), whose errors name its fields. A
client of another dialect has never heard of those: what he reads names what he wrote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rbee.errors import RbeeError

Words: TypeAlias = Callable[[str], str]
"""A message or a path of rbee's as the dialect says it."""


def _named(**fields: str) -> Words:
    """rbee's field at the beginning of a path, as the dialect's."""
    names = "|".join(fields)
    place = re.compile(rf"(?<=\$\.)({names})\b")
    return lambda text: place.sub(lambda found: fields[found[1]], text)


def _shapes(schema: str) -> Words:
    """The schema is told by its own name also where two forms exclude each other."""
    name = re.compile(r"(?<![\w'\"])json_schema(?![\w'\"])")
    return lambda text: name.sub(schema, text)


def _parameters(name: str) -> Words:
    """A tool's schema."""
    place = re.compile(r"(?<=\$\.tools)(\[\d+\])\.function\.parameters\b")
    return lambda text: place.sub(rf"\1.{name}", text)


def _after(*steps: Words) -> Words:
    def told(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return told


def _whole(text: str) -> str:
    """Without the number of a message: they were numbered anew."""
    return re.sub(r"(?<=\$\.messages)\[[\w.\[\]]*\]", "", text)


def _of_rerank(text: str) -> str:
    """Without a classifier the query and the documents are the inputs of an embedding."""

    def told(found: re.Match[str]) -> str:
        number = int(found[1])
        return f"$.documents[{number - 1}]" if number else "$.query"

    return re.sub(r"\$\.input\[(\d+)\]", told, text)


CHAT = _shapes("response_format")
COMPLETIONS: Words = str
RESPONSES = _after(
    _whole,
    _named(messages="input", max_tokens="max_output_tokens"),
    _parameters("parameters"),
    _shapes("text.format"),
)
MESSAGES = _after(
    _whole,
    _named(stop="stop_sequences"),
    _parameters("input_schema"),
    _shapes("output_config.format"),
)
RERANK: Words = _of_rerank


@contextmanager
def told_in(words: Words) -> Iterator[None]:
    """Errors of the block, in these words."""
    try:
        yield
    except RbeeError as exc:
        raise type(exc)(
            words(exc.message),
            hint=words(exc.hint),
            path=words(exc.path),
            retry_after_s=exc.retry_after_s,
        ) from exc
