"""What clients send to have texts embedded or ranked, with rbee's bounds."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from rbee.contracts.limits import ModelRef, PromptText
from rbee.queen.openai.requests import Input
from rbee.queen.openai.wishes import Ignored


class EmbeddingRequest(Ignored, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/embeddings`. `dimensions` cuts the vectors and makes them unit length again."""

    model: ModelRef
    input: Input
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=1_048_576)] | None = None


class RerankDocument(Struct, forbid_unknown_fields=True):
    text: PromptText


class RerankRequest(Ignored, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/rerank`: documents by how well they answer the query."""

    model: ModelRef
    query: PromptText
    documents: Annotated[list[PromptText | RerankDocument], Meta(min_length=1, max_length=2_047)]
    top_n: Annotated[int, Meta(ge=1, le=2_048)] | None = None
    return_documents: bool | None = None
