"""What Anthropic's clients send to `/v1/messages`, with rbee's bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from rbee.contracts.limits import (
    Fraction,
    MaxTokens,
    ModelRef,
    PromptText,
    Stops,
    Temperature,
    TopK,
)


class TextBlock(Struct, tag_field="type", tag="text", forbid_unknown_fields=True):
    text: PromptText
    cache_control: Any = None
    """Ignored, here and below: rbee shares prefixes without being told."""
    citations: Any = None


class ToolUse(Struct, tag_field="type", tag="tool_use", forbid_unknown_fields=True):
    """A call that the assistant made earlier."""

    id: str
    name: Annotated[str, Meta(min_length=1, max_length=256)]
    input: dict[str, Any]
    cache_control: Any = None


class ToolResult(Struct, tag_field="type", tag="tool_result", forbid_unknown_fields=True):
    """What a tool answered."""

    tool_use_id: str
    content: PromptText | list[TextBlock] | None = None
    is_error: bool | None = None
    cache_control: Any = None


class Turn(Struct, forbid_unknown_fields=True):
    role: Literal["user", "assistant"]
    content: PromptText | list[TextBlock | ToolUse | ToolResult]


class ToolSpec(Struct, forbid_unknown_fields=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9_.-]+\Z")]
    input_schema: dict[str, Any]
    description: str | None = None
    type: Literal["custom"] | None = None
    cache_control: Any = None


class ToolPick(Struct, forbid_unknown_fields=True, kw_only=True):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: Literal[False] | None = None


class Thinking(Struct, forbid_unknown_fields=True):
    type: Literal["disabled"]


class CountRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/messages/count_tokens`."""

    model: ModelRef
    messages: Annotated[list[Turn], Meta(min_length=1, max_length=10_000)]
    system: PromptText | list[TextBlock] | None = None
    tools: Annotated[list[ToolSpec], Meta(max_length=128)] | None = None
    tool_choice: ToolPick | None = None
    thinking: Thinking | None = None


class MessagesRequest(CountRequest, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/messages`."""

    max_tokens: MaxTokens
    stop_sequences: Stops | None = None
    temperature: Temperature | None = None
    top_p: Fraction | None = None
    top_k: TopK | None = None
    stream: bool | None = None
    metadata: Any = None
    service_tier: Any = None
