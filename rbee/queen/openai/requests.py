"""What OpenAI's clients send, with rbee's bounds. Every optional field may also be null."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct, field

from rbee.contracts.chat import ImagePart, PastCall, Role, TextPart, ToolChoice, Tools
from rbee.contracts.limits import (
    Choices,
    Fraction,
    MaxTokens,
    ModelRef,
    PromptText,
    ShortText,
    Stops,
    StopText,
    Temperature,
    TokenId,
    TopLogprobs,
)
from rbee.queen.openai.wishes import Wishes

Ids = Annotated[list[TokenId], Meta(min_length=1, max_length=1_048_576)]
Several = Annotated[list[PromptText | TokenId | Ids], Meta(min_length=1, max_length=1_048_576)]
Input = PromptText | Several
"""A text, the ids of one, a list of texts, or a list of lists of ids; `translate.texts` tells
them apart, since a list that mixes them passes here."""
SomeTokens = Annotated[int, Meta(ge=1, le=1_048_576)]
"""`max_tokens` where none at all would be no answer."""
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class Sampling(Wishes, kw_only=True, forbid_unknown_fields=True):
    """What chat and completions share."""

    model: ModelRef
    temperature: Temperature | None = None
    top_p: Fraction | None = None
    n: Choices | None = None
    stop: StopText | Stops | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class StreamOptions(Struct, forbid_unknown_fields=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """Ignored: padding against eavesdroppers."""


class ChatMessage(Struct, forbid_unknown_fields=True):
    """A message as clients send it, or replay it from an earlier answer."""

    role: Role
    content: PromptText | list[TextPart | ImagePart] | None = None
    reasoning_content: PromptText | None = None
    name: ShortText | None = None
    tool_calls: list[PastCall] | None = None
    tool_call_id: ShortText | None = None
    refusal: PromptText | None = None
    annotations: Any = None
    """Ignored: where OpenAI's search found what the answer says."""
    audio: None = None
    function_call: None = None


class PlainText(Struct, tag_field="type", tag="text", forbid_unknown_fields=True):
    """`response_format`: anything."""


class JsonObject(Struct, tag_field="type", tag="json_object", forbid_unknown_fields=True):
    """`response_format`: any JSON object."""


class SchemaSpec(Struct, forbid_unknown_fields=True):
    """`strict` is ignored: the output always fits."""

    name: Annotated[str, Meta(max_length=256)] = ""
    schema: dict[str, Any] = field(default_factory=dict)
    strict: bool | None = None
    description: str | None = None


class JsonSchema(Struct, tag_field="type", tag="json_schema", forbid_unknown_fields=True):
    """`response_format`: JSON that fits a schema."""

    json_schema: SchemaSpec


class ChatRequest(Sampling, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/chat/completions`."""

    IGNORED: ClassVar[tuple[str, ...]] = ("modalities",)
    """Its only value is what happens anyway."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=10_000)]
    max_tokens: SomeTokens | None = None
    max_completion_tokens: SomeTokens | None = None
    """The newer name; it counts where both are given."""
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    response_format: PlainText | JsonObject | JsonSchema | None = None
    reasoning_effort: Effort | None = None
    """For the model's template; `none` also asks it for `enable_thinking: false`."""
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[Literal["text"]] | None = None


class CompletionRequest(Sampling, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/completions`; without `max_tokens` it ends after 16, as OpenAI's does."""

    prompt: Input
    max_tokens: MaxTokens | None = None
    """0 with `echo` alone: the prompt is scored."""
    logprobs: TopLogprobs | None = None
    best_of: Choices | None = None
    """How many choices to make, the `n` likeliest of which are the answer."""
    echo: bool | None = None
    suffix: PromptText | None = None
    json_schema: dict[str, Any] | bool | None = None
    """As in `infer`: OpenAI's completions have no field for it."""
