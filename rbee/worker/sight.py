"""Chats that hold pictures: where they stand in the messages, and in what the template makes of
those.

A template shows a mark in each picture's place: a word made up anew for every request, so that
nothing that a person writes can be taken for one. Which frame a model wants around a picture is
the projector's business, so the templates' own marks (there are as many as models) are not used.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from rbee.contracts.chat import ImagePart, Message
from rbee.errors import BadRequest
from rbee.worker.engine.span import Picture, Seen

READABLE = "[image]"
"""What a person reads where a picture stands."""


class Look(Protocol):
    """A prompt that is measured already, and not yet computed."""

    @property
    def cells(self) -> int:
        """What it costs, in tokens."""

    def seen(self) -> Seen:
        """Compute what its pictures are to the model: this takes the time."""

    def ids(self) -> list[int]:
        """Its token ids; -1 for each of a picture's."""


class Eyes(Protocol):
    """What lets a model see."""

    def looking(
        self, parts: Sequence[str | Picture], *, add_special: bool
    ) -> AbstractContextManager[Look]: ...


def pictures_in(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """(JSON path, URL) of every picture, in order."""
    return [
        (f"$.messages[{number}].content[{place}]", part.image_url.url)
        for number, message in enumerate(messages)
        for place, part in enumerate(message.content if isinstance(message.content, list) else ())
        if isinstance(part, ImagePart)
    ]


def new_mark() -> str:
    """Letters and digits alone: what templates do to a text does nothing to it."""
    return f"image{secrets.token_hex(12)}"


def cut(rendered: str, mark: str, pictures: Sequence[Picture]) -> list[str | Picture]:
    """What the template wrote, with the pictures in their places."""
    texts = rendered.split(mark)
    if len(texts) != len(pictures) + 1:
        raise BadRequest(
            f"The model's chat template shows {len(texts) - 1} of {len(pictures)} images.",
            hint="many templates show those of a user's messages alone",
            path="$.messages",
        )
    parts: list[str | Picture] = [texts[0]]
    for picture, text in zip(pictures, texts[1:], strict=True):
        parts += [picture, text]
    return [part for part in parts if part]
