"""What clients send to `/v1/responses`, with rbee's bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from rbee.contracts.chat import Role
from rbee.contracts.limits import Fraction, MaxTokens, ModelRef, PromptText, Temperature
from rbee.queen.openai.requests import Ignored

FunctionName = Annotated[str, Meta(min_length=1, max_length=256)]


class Part(Struct, forbid_unknown_fields=True, kw_only=True):
    """A piece of a message's text."""

    type: Literal["input_text", "output_text", "text"]
    text: PromptText
    annotations: Any = None
    logprobs: Any = None


class Item(Struct, forbid_unknown_fields=True, kw_only=True):
    """A message (`type` may be left out), a function call, or what a function answered."""

    type: Literal["message", "function_call", "function_call_output"] = "message"
    id: str | None = None
    status: str | None = None
    role: Role | None = None
    content: PromptText | list[Part] | None = None
    call_id: str | None = None
    name: FunctionName | None = None
    arguments: str = "{}"
    output: PromptText = ""


class FunctionTool(Struct, forbid_unknown_fields=True, kw_only=True):
    type: Literal["function"]
    name: Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9_.-]+\Z")]
    description: str | None = None
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


class ResponsesRequest(Ignored, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/responses`."""

    model: ModelRef
    input: PromptText | Annotated[list[Item], Meta(min_length=1, max_length=10_000)]
    instructions: PromptText | None = None
    max_output_tokens: MaxTokens | None = None
    temperature: Temperature | None = None
    top_p: Fraction | None = None
    stream: bool | None = None
    stream_options: Any = None
    include: Any = None
    """Ignored, like the one before: they concern padding, and what only OpenAI's tools report."""
    truncation: Literal["disabled"] | None = None
    text: TextOptions | None = None
    tools: Annotated[list[FunctionTool], Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | None = None
    parallel_tool_calls: bool | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    background: bool | None = None
