"""What clients send to `/v1/responses`, with rbee's bounds."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from rbee.contracts.chat import Role
from rbee.contracts.limits import (
    Fraction,
    ImageData,
    ModelRef,
    PromptText,
    ShortText,
    Stops,
    StopText,
    Temperature,
    TopLogprobs,
)
from rbee.queen.openai.requests import Effort, SomeTokens
from rbee.queen.openai.wishes import Wishes

FunctionName = Annotated[str, Meta(min_length=1, max_length=256)]


class InputText(Struct, tag_field="type", tag="input_text", forbid_unknown_fields=True):
    text: PromptText


class PlainPart(Struct, tag_field="type", tag="text", forbid_unknown_fields=True):
    text: PromptText


class OutputText(Struct, tag_field="type", tag="output_text", forbid_unknown_fields=True):
    """What the model said earlier; what stood beside it is ignored."""

    text: PromptText
    annotations: Any = None
    logprobs: Any = None


class InputImage(
    Struct, tag_field="type", tag="input_image", forbid_unknown_fields=True, kw_only=True
):
    """`image_url` is a `data:` URL: nothing is ever fetched."""

    image_url: ImageData
    detail: Literal["auto", "low", "high"] | None = None
    """Ignored: the projector has one resolution."""
    file_id: None = None


class ReasoningText(Struct, tag_field="type", tag="reasoning_text", forbid_unknown_fields=True):
    text: PromptText


class SummaryText(Struct, tag_field="type", tag="summary_text", forbid_unknown_fields=True):
    text: PromptText


Said = InputText | PlainPart | OutputText | InputImage
Parts = Annotated[list[Said | ReasoningText], Meta(max_length=10_000)]
ItemType = Literal["message", "function_call", "function_call_output", "reasoning"]


class Item(Struct, forbid_unknown_fields=True, kw_only=True):
    """A message (`type` may be left out), a function call, what a function answered, or what the
    model thought. One struct, because the tag is optional; `FIELDS` says what belongs to which."""

    type: ItemType = "message"
    id: str | None = None
    """Ignored, as the status is: nothing is stored that it could name."""
    status: str | None = None
    phase: str | None = None
    """Ignored: whether a message was OpenAI's commentary or its last word."""
    role: Role | None = None
    content: PromptText | Parts | None = None
    call_id: ShortText | None = None
    name: FunctionName | None = None
    arguments: PromptText | None = None
    output: PromptText | Annotated[list[InputText | InputImage], Meta(max_length=10_000)] | None = (
        None
    )
    summary: Annotated[list[SummaryText], Meta(max_length=10_000)] | None = None
    """Stands in for the thoughts of a reasoning item that has no content."""
    encrypted_content: Any = None
    """Ignored: only OpenAI can read it."""
    caller: None = None
    """Null like the next two, in what the official client makes of an item that it was sent."""
    namespace: None = None
    async_: None = None


FIELDS: dict[ItemType, frozenset[str]] = {
    "message": frozenset({"role", "content", "phase"}),
    "function_call": frozenset({"call_id", "name", "arguments"}),
    "function_call_output": frozenset({"call_id", "output"}),
    "reasoning": frozenset({"content", "summary", "encrypted_content"}),
}


class FunctionTool(Struct, forbid_unknown_fields=True, kw_only=True):
    type: Literal["function"]
    name: Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9_.-]+\Z")]
    description: PromptText | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionChoice(Struct, forbid_unknown_fields=True):
    type: Literal["function"]
    name: FunctionName


class PlainFormat(Struct, tag_field="type", tag="text", forbid_unknown_fields=True):
    """Anything."""


class JsonObjectFormat(Struct, tag_field="type", tag="json_object", forbid_unknown_fields=True):
    """Any JSON object."""


class JsonSchemaFormat(Struct, tag_field="type", tag="json_schema", forbid_unknown_fields=True):
    schema: dict[str, Any]
    name: str = ""
    strict: bool | None = None
    description: str | None = None


class TextOptions(Struct, forbid_unknown_fields=True):
    format: PlainFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    verbosity: None = None


class Reasoning(Struct, forbid_unknown_fields=True, kw_only=True):
    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    """Ignored, and so is its older name: thoughts are told in full, as `content`."""
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class ResponsesRequest(Wishes, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/responses`."""

    IGNORED: ClassVar[tuple[str, ...]] = ("stream_options", "truncation")
    """They concern padding; and the only truncation accepted is none."""

    model: ModelRef
    input: PromptText | Annotated[list[Item], Meta(min_length=1, max_length=10_000)]
    instructions: PromptText | None = None
    max_output_tokens: SomeTokens | None = None
    temperature: Temperature | None = None
    top_p: Fraction | None = None
    top_logprobs: TopLogprobs | None = None
    stop: StopText | Stops | None = None
    """As in `infer`: OpenAI's responses have no field for it."""
    stream: bool | None = None
    stream_options: Any = None
    include: Annotated[list[ShortText], Meta(max_length=64)] | None = None
    """`message.output_text.logprobs` is honoured; the others name what only OpenAI's tools tell."""
    truncation: Literal["disabled"] | None = None
    text: TextOptions | None = None
    reasoning: Reasoning | None = None
    tools: Annotated[list[FunctionTool], Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | None = None
    parallel_tool_calls: bool | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    background: bool | None = None
