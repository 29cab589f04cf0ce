"""`/v1/messages`, Anthropic's API: its conversations and tools as rbee's. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from rbee.contracts.chat import (
    FunctionSpec,
    ImagePart,
    ImageUrl,
    Message,
    NamedFunction,
    NamedTool,
    PastCall,
    PastFunctionCall,
    TextPart,
    Tool,
    ToolChoice,
)
from rbee.contracts.operations import Infer
from rbee.contracts.worker_api import Tokenize
from rbee.errors import Invalid
from rbee.queen.openai.messages_requests import (
    Base64Source,
    CountRequest,
    ImageBlock,
    MessagesRequest,
    TextBlock,
    ThinkingBlock,
    ThinkingOff,
    ThinkingOn,
    ToolPick,
    ToolResult,
    ToolUse,
    Turn,
)
from rbee.queen.openai.wishes import template_values, thinking, wishes
from rbee.wire.codec import encode

ERROR = "Error: "
"""What the model reads before the words of a tool that failed."""
Content = str | list[TextPart | ImagePart] | None


def infer_of(asked: MessagesRequest) -> Infer:
    """The request as `infer`."""
    pick = asked.tool_choice
    given: dict[str, Any] = {
        **wishes(asked),
        "chat_template_kwargs": template_values(asked, _thinking(asked)),
    }
    return Infer(
        model=asked.model,
        messages=_messages(asked),
        max_tokens=asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        stop=asked.stop_sequences or None,
        json_schema=_schema(asked),
        tools=_tools(asked),
        tool_choice=_choice(pick),
        parallel_tool_calls=not (pick is not None and pick.disable_parallel_tool_use),
        stream=bool(asked.stream),
        **given,
    )


def question_of(asked: CountRequest) -> Tokenize:
    """The same conversation, to be counted."""
    hidden = asked.tool_choice is not None and asked.tool_choice.type == "none"
    tools = None if hidden else _tools(asked)
    return Tokenize(model=asked.model, messages=_messages(asked), tools=tools)


def _thinking(asked: MessagesRequest) -> dict[str, Any]:
    """What the template is to know of thinking; nothing where the client says nothing."""
    made = thinking(asked.output_config.effort if asked.output_config else None)
    match asked.thinking:
        case None:
            return made
        case ThinkingOff():
            return {**made, "enable_thinking": False}
        case ThinkingOn(budget_tokens=budget):
            return {**made, "enable_thinking": True, "thinking_budget": budget}
        case _:
            return {**made, "enable_thinking": True}


def _schema(asked: MessagesRequest) -> dict[str, Any] | None:
    wanted = asked.output_config.format if asked.output_config else None
    return None if wanted is None else wanted.schema


def _messages(asked: CountRequest | MessagesRequest) -> list[Message]:
    made = [Message("system", _content(asked.system))] if asked.system else []
    for turn in asked.messages:
        made += _turn(turn)
    return made


def _tools(asked: CountRequest | MessagesRequest) -> list[Tool] | None:
    specs = [
        FunctionSpec(t.name, t.description, t.input_schema, t.strict) for t in asked.tools or ()
    ]
    return [Tool(spec) for spec in specs] or None


def _choice(pick: ToolPick | None) -> ToolChoice | None:
    if pick is None:
        return None
    if pick.type == "tool":
        if not pick.name:
            raise Invalid("tool_choice names no tool.", path="$.tool_choice.name")
        return NamedTool(NamedFunction(pick.name))
    words: dict[str, Literal["none", "auto", "required"]] = {
        "auto": "auto",
        "any": "required",
        "none": "none",
    }
    return words[pick.type]


def _turn(turn: Turn) -> list[Message]:
    """A turn as messages: what tools answered comes first, each in a message of its own."""
    if isinstance(turn.content, str):
        return [Message(turn.role, turn.content)]
    made = [_result(block) for block in turn.content if isinstance(block, ToolResult)]
    said = _content([b for b in turn.content if isinstance(b, TextBlock | ImageBlock)])
    calls = [_call(block) for block in turn.content if isinstance(block, ToolUse)]
    thoughts = [b.thinking for b in turn.content if isinstance(b, ThinkingBlock)]
    if said or calls or thoughts or not made:
        thought = "\n".join(thoughts) or None
        made.append(Message(turn.role, said, thought, tool_calls=calls or None))
    return made


def _content(given: str | Sequence[TextBlock | ImageBlock] | None) -> Content:
    """One text where there are only texts: that is what every template can render."""
    if given is None or isinstance(given, str):
        return given
    texts = [block.text for block in given if isinstance(block, TextBlock)]
    if len(texts) == len(given):
        return "\n".join(texts) or None
    return [TextPart(b.text) if isinstance(b, TextBlock) else _image(b) for b in given]


def _image(block: ImageBlock) -> ImagePart:
    source = block.source
    if isinstance(source, Base64Source):
        return ImagePart(ImageUrl(f"data:{source.media_type};base64,{source.data}"))
    return ImagePart(ImageUrl(source.url))


def _result(block: ToolResult) -> Message:
    said = _content(block.content) or ""
    if block.is_error:
        said = ERROR + said if isinstance(said, str) else [TextPart(ERROR), *said]
    return Message("tool", said, tool_call_id=block.tool_use_id)


def _call(block: ToolUse) -> PastCall:
    return PastCall(block.id, PastFunctionCall(block.name, encode(block.input).decode()))
