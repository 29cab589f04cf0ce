"""What OpenAI's clients send, with rbee's bounds. Every optional field may also be null."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from rbee.contracts.chat import PastCall, Role, TextPart, ToolChoice, Tools
from rbee.contracts.limits import (
    Choices,
    DeadlineMs,
    Fraction,
    LogitBias,
    MaxTokens,
    ModelRef,
    Name,
    Penalty,
    Priority,
    PromptText,
    RepeatPenalty,
    Seed,
    Stops,
    StopText,
    Temperature,
    TokenId,
    TopK,
    TopLogprobs,
)

Ids = Annotated[list[TokenId], Meta(min_length=1, max_length=1_048_576)]
Several = Annotated[list[PromptText | TokenId | Ids], Meta(min_length=1, max_length=1_048_576)]
Input = PromptText | Several
"""A text, the ids of one, a list of texts, or a list of lists of ids; `translate.texts` tells
them apart, since a list that mixes them passes here."""


class Ignored(Struct, kw_only=True, forbid_unknown_fields=True):
    """Accepted and without effect: they concern OpenAI's accounts, caches and storage."""

    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    safety_identifier: Any = None
    prediction: Any = None
    """A hint for speed alone."""


class Wishes(Ignored, kw_only=True, forbid_unknown_fields=True):
    """What rbee offers beyond OpenAI's fields, under the names that `infer` uses."""

    top_k: TopK | None = None
    min_p: Fraction | None = None
    repeat_penalty: RepeatPenalty | None = None
    grammar: str | None = None
    hive_id: Name | None = None
    worker_id: Name | None = None
    device: str | None = None
    priority: Priority = 0
    deadline_ms: DeadlineMs | None = None


class Sampling(Wishes, kw_only=True, forbid_unknown_fields=True):
    """What chat and completions share."""

    model: ModelRef
    max_tokens: MaxTokens | None = None
    temperature: Temperature | None = None
    top_p: Fraction | None = None
    n: Choices | None = None
    stop: StopText | Stops | None = None
    seed: Seed | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: LogitBias | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class StreamOptions(Struct, forbid_unknown_fields=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """Ignored: padding against eavesdroppers."""


class ChatMessage(Struct, forbid_unknown_fields=True):
    """A message as clients send it, or replay it from an earlier answer."""

    role: Role
    content: PromptText | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[PastCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    annotations: Any = None
    audio: None = None
    function_call: None = None


class PlainText(Struct, tag_field="type", tag="text", forbid_unknown_fields=True):
    """`response_format`: anything."""


class JsonObject(Struct, tag_field="type", tag="json_object", forbid_unknown_fields=True):
    """`response_format`: any JSON object."""


class SchemaSpec(Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(max_length=256)] = ""
    schema: dict[str, Any] = field(default_factory=dict)
    strict: bool | None = None
    description: str | None = None


class JsonSchema(Struct, tag_field="type", tag="json_schema", forbid_unknown_fields=True):
    """`response_format`: JSON that fits a schema."""

    json_schema: SchemaSpec


class ChatRequest(Sampling, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=10_000)]
    max_completion_tokens: MaxTokens | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    response_format: PlainText | JsonObject | JsonSchema | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    """Ignored when true; false cannot be promised."""
    modalities: list[Literal["text"]] | None = None


class CompletionRequest(Sampling, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/completions`; without `max_tokens` it ends after 16, as OpenAI's does."""

    prompt: Input
    logprobs: TopLogprobs | None = None
    best_of: Choices | None = None
    echo: bool | None = None
    suffix: str | None = None


class EmbeddingRequest(Ignored, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/embeddings`. `dimensions` cuts the vectors and makes them unit length again."""

    model: ModelRef
    input: Input
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=1_048_576)] | None = None


class RerankRequest(Ignored, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/rerank`: documents by the cosine of their embedding to the query's."""

    model: ModelRef
    query: PromptText
    documents: Annotated[list[PromptText | RerankDocument], Meta(min_length=1, max_length=2_047)]
    top_n: Annotated[int, Meta(ge=1, le=2_048)] | None = None
    return_documents: bool | None = None


class RerankDocument(Struct, forbid_unknown_fields=True):
    text: PromptText
