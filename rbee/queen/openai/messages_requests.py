"""What Anthropic's clients send to `/v1/messages`, with rbee's bounds."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from rbee.contracts.limits import (
    Fraction,
    ImageData,
    ModelRef,
    PromptText,
    ShortText,
    Stops,
    Temperature,
)
from rbee.queen.openai.requests import SomeTokens
from rbee.queen.openai.wishes import Wishes


class TextBlock(Struct, tag_field="type", tag="text", forbid_unknown_fields=True):
    text: PromptText
    cache_control: Any = None
    """Ignored, here and below: rbee shares prefixes without being told."""
    citations: Any = None
    """Ignored: rbee's answers have none."""


class Base64Source(Struct, tag_field="type", tag="base64", forbid_unknown_fields=True):
    data: ImageData
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]


class UrlSource(Struct, tag_field="type", tag="url", forbid_unknown_fields=True):
    """A `data:` URL: nothing is ever fetched."""

    url: ImageData


class ImageBlock(Struct, tag_field="type", tag="image", forbid_unknown_fields=True):
    source: Base64Source | UrlSource
    cache_control: Any = None


class ThinkingBlock(Struct, tag_field="type", tag="thinking", forbid_unknown_fields=True):
    """What the model thought earlier; `signature` is not looked at."""

    thinking: PromptText
    signature: str | None = None


class RedactedThinking(
    Struct, tag_field="type", tag="redacted_thinking", forbid_unknown_fields=True
):
    """Thoughts that only Anthropic can read: ignored."""

    data: str


class ToolUse(Struct, tag_field="type", tag="tool_use", forbid_unknown_fields=True):
    """A call that the assistant made earlier."""

    id: ShortText
    name: Annotated[str, Meta(min_length=1, max_length=256)]
    input: dict[str, Any]
    cache_control: Any = None
    caller: Any = None
    """Ignored: a call is the model's own."""
    toolset_name: None = None


class ToolResult(Struct, tag_field="type", tag="tool_result", forbid_unknown_fields=True):
    """What a tool answered."""

    tool_use_id: ShortText
    content: PromptText | list[TextBlock | ImageBlock] | None = None
    is_error: bool | None = None
    """The model reads `Error:` before what the tool said."""
    toolset_name: None = None
    cache_control: Any = None


Block = TextBlock | ImageBlock | ThinkingBlock | RedactedThinking | ToolUse | ToolResult


class Turn(Struct, forbid_unknown_fields=True):
    role: Literal["user", "assistant", "system"]
    content: PromptText | Annotated[list[Block], Meta(max_length=10_000)]


class ToolSpec(Struct, forbid_unknown_fields=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9_.-]+\Z")]
    input_schema: dict[str, Any]
    description: PromptText | None = None
    type: Literal["custom"] | None = None
    strict: bool | None = None
    defer_loading: Literal[False] | None = None
    cache_control: Any = None
    eager_input_streaming: Any = None
    """Ignored: how finely a call's input is streamed."""


class ToolPick(Struct, forbid_unknown_fields=True, kw_only=True):
    type: Literal["auto", "any", "tool", "none"]
    name: ShortText | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingOn(Struct, tag_field="type", tag="enabled", forbid_unknown_fields=True, kw_only=True):
    """The budget is told to the template; no model is cut off in the middle of a thought."""

    budget_tokens: SomeTokens
    display: Literal["summarized"] | None = None
    """Ignored, here and below: thoughts are told in full."""


class ThinkingAdaptive(
    Struct, tag_field="type", tag="adaptive", forbid_unknown_fields=True, kw_only=True
):
    display: Literal["summarized"] | None = None


class ThinkingOff(Struct, tag_field="type", tag="disabled", forbid_unknown_fields=True):
    """No thoughts, where the model's template has a way to ask for none."""


Thinking = ThinkingOn | ThinkingAdaptive | ThinkingOff


class OutputFormat(Struct, tag_field="type", tag="json_schema", forbid_unknown_fields=True):
    schema: dict[str, Any]


class OutputConfig(Struct, forbid_unknown_fields=True, kw_only=True):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


Turns = Annotated[list[Turn], Meta(min_length=1, max_length=10_000)]
System = PromptText | list[TextBlock]
Specs = Annotated[list[ToolSpec], Meta(max_length=128)]


class CountRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/messages/count_tokens`: what of a request becomes its prompt."""

    IGNORED: ClassVar[tuple[str, ...]] = (
        "thinking",
        "output_config",
        "cache_control",
        "context_management",
    )
    """They change the prompt by a few tokens at most, and by none with most templates."""

    model: ModelRef
    messages: Turns
    system: System | None = None
    tools: Specs | None = None
    tool_choice: ToolPick | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    cache_control: Any = None
    context_management: Any = None


class MessagesRequest(Wishes, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/messages`; `top_k` is among rbee's own wishes."""

    IGNORED: ClassVar[tuple[str, ...]] = ("cache_control", "context_management")
    """Old turns are never edited: the model reads the whole conversation."""

    model: ModelRef
    messages: Turns
    max_tokens: SomeTokens
    system: System | None = None
    tools: Specs | None = None
    tool_choice: ToolPick | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    stop_sequences: Stops | None = None
    temperature: Temperature | None = None
    top_p: Fraction | None = None
    stream: bool | None = None
    cache_control: Any = None
    context_management: Any = None
