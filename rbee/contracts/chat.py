"""Conversations as every dialect speaks them: messages, tools and calls."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from rbee.contracts.limits import ImageData, PromptText, ShortText

Role = Literal["system", "developer", "user", "assistant", "tool"]


class TextPart(Struct, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """A piece of text inside a message whose content is a list."""

    text: PromptText


class ImageUrl(Struct, forbid_unknown_fields=True):
    """`url` is a `data:` URL with the image inside: nothing is ever fetched."""

    url: ImageData
    detail: Literal["auto", "low", "high"] | None = None
    """Ignored: the projector has one resolution."""


class ImagePart(Struct, forbid_unknown_fields=True, tag_field="type", tag="image_url"):
    """A picture inside a message, for models that have a projector."""

    image_url: ImageUrl


CallIndex = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class FunctionCall(Struct):
    """What the model asks to be called. `arguments` is JSON text, as in OpenAI's API."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    arguments: PromptText


class ToolCall(Struct):
    """One call of a tool, as a worker tells it; `id` ties the tool's answer to it."""

    id: ShortText
    function: FunctionCall
    type: Literal["function"] = "function"
    index: CallIndex | None = None
    """Clients that replay a streamed call send its position along; it is ignored."""


class PastFunctionCall(FunctionCall, forbid_unknown_fields=True):
    """The same inside a request."""


class PastCall(ToolCall, forbid_unknown_fields=True):
    """A call that a client replays as part of the conversation: a request, so read strictly.

    All fields stand here again because one redefined alone would move to the end."""

    id: ShortText
    function: PastFunctionCall
    type: Literal["function"] = "function"
    index: CallIndex | None = None


Parts = Annotated[list[TextPart | ImagePart], Meta(max_length=10_000)]
PastCalls = Annotated[list[PastCall], Meta(max_length=1_024)]


class Message(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One turn of a conversation."""

    role: Role
    content: PromptText | Parts | None = None
    reasoning_content: PromptText | None = None
    """What the model thought before it said `content`; templates decide what they keep of it."""
    name: ShortText | None = None
    tool_calls: PastCalls | None = None
    tool_call_id: ShortText | None = None
    refusal: PromptText | None = None


class FunctionSpec(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A function the model may call; `parameters` is a JSON schema of an object."""

    name: Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9_.-]+\Z")]
    description: PromptText | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Struct, forbid_unknown_fields=True):
    function: FunctionSpec
    type: Literal["function"] = "function"


class NamedFunction(Struct, forbid_unknown_fields=True):
    name: ShortText


class NamedTool(Struct, forbid_unknown_fields=True):
    """`tool_choice` naming the one function that must be called."""

    function: NamedFunction
    type: Literal["function"] = "function"


ToolChoice = Literal["none", "auto", "required"] | NamedTool
Messages = Annotated[list[Message], Meta(min_length=1, max_length=10_000)]
Tools = Annotated[list[Tool], Meta(min_length=1, max_length=128)]
