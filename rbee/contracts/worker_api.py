"""What a worker alone is asked, beside `Infer`: vectors and tokens."""

from __future__ import annotations

from typing import Annotated, Any

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


class Rank(Struct, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/rank`: how well each document answers the query, by the model's own classifier."""

    model: ModelRef
    query: PromptText
    documents: Annotated[list[PromptText], Meta(min_length=1, max_length=2_048)]


class Ranks(Struct, kw_only=True):
    """One score for each document, in their order; higher is better, the scale is the model's."""

    model: str
    scores: list[float]
    prompt_tokens: int


class ApplyTemplate(Struct, forbid_unknown_fields=True, kw_only=True):
    """`POST /apply-template`: a chat as the model's template renders it."""

    model: ModelRef = "bee"
    messages: Messages
    tools: Tools | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class Rendered(Struct):
    model: str
    prompt: str


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
