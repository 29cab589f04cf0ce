"""Conversations as every dialect speaks them: messages, tools and calls."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from rbee.contracts.limits import PromptText

Role = Literal["system", "developer", "user", "assistant", "tool"]


class TextPart(Struct, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """A piece of text inside a message whose content is a list."""

    text: PromptText


class FunctionCall(Struct, forbid_unknown_fields=True):
    """What the model asks to be called. `arguments` is JSON text, as in OpenAI's API."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    arguments: str


class ToolCall(Struct, forbid_unknown_fields=True):
    """One call of a tool; `id` ties the tool's answer to it."""

    id: str
    function: FunctionCall
    type: Literal["function"] = "function"
    index: int | None = None
    """Clients that replay a streamed call send its position along; it is ignored."""


class Message(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One turn of a conversation."""

    role: Role
    content: PromptText | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None


class FunctionSpec(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A function the model may call; `parameters` is a JSON schema of an object."""

    name: Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9_.-]+\Z")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Struct, forbid_unknown_fields=True):
    function: FunctionSpec
    type: Literal["function"] = "function"


class NamedFunction(Struct, forbid_unknown_fields=True):
    name: str


class NamedTool(Struct, forbid_unknown_fields=True):
    """`tool_choice` naming the one function that must be called."""

    function: NamedFunction
    type: Literal["function"] = "function"


ToolChoice = Literal["none", "auto", "required"] | NamedTool
Messages = Annotated[list[Message], Meta(min_length=1, max_length=10_000)]
Tools = Annotated[list[Tool], Meta(min_length=1, max_length=128)]
