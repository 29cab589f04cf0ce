"""What a worker alone is asked, beside `Infer`: vectors and tokens."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from rbee.contracts.chat import Messages, Tools
from rbee.contracts.limits import ModelRef, PromptIds, PromptText, TokenId

EmbedInput = Annotated[list[PromptText | PromptIds], Meta(min_length=1, max_length=2_048)]


class Embed(Struct, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/embed`: one vector for each input."""

    model: ModelRef
    input: EmbedInput
    normalise: bool = True


class Vectors(Struct, kw_only=True):
    """Pooled vectors, one a row, in the order of the inputs."""

    model: str
    vectors: list[list[float]]
    prompt_tokens: int


class Tokenize(Struct, forbid_unknown_fields=True, kw_only=True):
    """`POST /tokenize`: `text`, or `messages` rendered by the model's template first."""

    model: ModelRef = "bee"
    text: PromptText | None = None
    messages: Messages | None = None
    tools: Tools | None = None
    add_special: bool = True
    """Add what the model wants at the start (BOS), when it wants any."""


class Tokens(Struct):
    model: str
    tokens: list[int]
    count: int


class Detokenize(Struct, forbid_unknown_fields=True, kw_only=True):
    """`POST /detokenize`."""

    model: ModelRef = "bee"
    tokens: Annotated[list[TokenId], Meta(max_length=1_048_576)]


class Text(Struct):
    model: str
    text: str
