"""`/v1/responses`, OpenAI's newer API: its requests as rbee's. Pure.

Nothing is stored: `previous_response_id`, `conversation`, `prompt` and `background` are refused by
name. What the items of one assistant turn say (thoughts, words, calls) becomes one message, as
every template expects it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
)
from rbee.contracts.operations import Infer
from rbee.errors import Invalid
from rbee.queen.openai.responses_requests import (
    FIELDS,
    InputImage,
    Item,
    JsonObjectFormat,
    JsonSchemaFormat,
    ReasoningText,
    ResponsesRequest,
    Said,
)
from rbee.queen.openai.translate import stops, unsupported
from rbee.queen.openai.wishes import template_values, thinking, wishes

LOGPROBS = "message.output_text.logprobs"
_COMMON = {"type", "id", "status"}
_ITEM_FIELDS = tuple(f for f in Item.__struct_fields__ if f not in _COMMON)


def infer_of(asked: ResponsesRequest) -> Infer:
    """The request as `infer`. Raises `Invalid` for what would need memory."""
    for name in ("previous_response_id", "conversation", "prompt", "background"):
        if getattr(asked, name):
            raise unsupported(name, "this server keeps no conversations")
    effort = thinking(asked.reasoning.effort if asked.reasoning else None)
    given: dict[str, Any] = {
        **wishes(asked),
        "chat_template_kwargs": template_values(asked, effort),
    }
    tools = [
        Tool(FunctionSpec(t.name, t.description, t.parameters, t.strict)) for t in asked.tools or ()
    ]
    choice = asked.tool_choice
    return Infer(
        model=asked.model,
        messages=_messages(asked),
        max_tokens=asked.max_output_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        stop=stops(asked.stop),
        logprobs=_logprobs(asked),
        json_schema=_schema(asked),
        tools=tools or None,
        tool_choice=(choice if choice is None or isinstance(choice, str) else _named(choice.name)),
        parallel_tool_calls=asked.parallel_tool_calls is not False,
        stream=bool(asked.stream),
        **given,
    )


def _named(name: str) -> NamedTool:
    return NamedTool(NamedFunction(name))


def _logprobs(asked: ResponsesRequest) -> int | None:
    """Either field asks for them, as either client would expect."""
    if asked.top_logprobs is None and LOGPROBS not in (asked.include or ()):
        return None
    return asked.top_logprobs or 0


def _schema(asked: ResponsesRequest) -> dict[str, Any] | None:
    wanted = asked.text.format if asked.text is not None else None
    if isinstance(wanted, JsonSchemaFormat):
        return wanted.schema
    return {"type": "object"} if isinstance(wanted, JsonObjectFormat) else None


def _messages(asked: ResponsesRequest) -> list[Message]:
    made = [Message("system", asked.instructions)] if asked.instructions else []
    if isinstance(asked.input, str):
        return [*made, Message("user", asked.input)]
    turn: Message | None = None
    """The assistant's, while more items may belong to it."""
    for number, item in enumerate(asked.input):
        said = _message(item, f"$.input[{number}]")
        if turn is not None and _joins(turn, said):
            _join(turn, said)
            continue
        made.append(said)
        turn = said if said.role == "assistant" else None
    return made


def _joins(turn: Message, said: Message) -> bool:
    """Thoughts come before words, words before calls: what would go back begins a new message."""
    if said.role != "assistant":
        return False
    if said.tool_calls:
        return True
    return not turn.tool_calls and not turn.content


def _join(turn: Message, said: Message) -> None:
    turn.content = turn.content or said.content
    thoughts = [t for t in (turn.reasoning_content, said.reasoning_content) if t]
    turn.reasoning_content = "\n".join(thoughts) or None
    turn.tool_calls = [*(turn.tool_calls or ()), *(said.tool_calls or ())] or None


def _message(item: Item, path: str) -> Message:
    _check(item, path)
    match item.type:
        case "message":
            return Message(_role(item, path), _content(item.content or "", path))
        case "function_call":
            if item.name is None or item.call_id is None:
                raise Invalid("A function call has a call_id and a name.", path=path)
            call = PastCall(item.call_id, PastFunctionCall(item.name, item.arguments or "{}"))
            return Message("assistant", None, tool_calls=[call])
        case "function_call_output":
            if item.output is None or item.call_id is None:
                raise Invalid("What a function answered has a call_id and an output.", path=path)
            return Message("tool", _content(item.output, path), tool_call_id=item.call_id)
        case "reasoning":
            return Message("assistant", None, _thoughts(item, path))


def _check(item: Item, path: str) -> None:
    """A field of another type would be dropped in silence."""
    for name in _ITEM_FIELDS:
        if getattr(item, name) is not None and name not in FIELDS[item.type]:
            raise Invalid(f"A {item.type} item has no {name}.", path=f"{path}.{name}")


def _role(item: Item, path: str) -> Any:
    if item.role is None or item.content is None:
        raise Invalid("A message has a role and content.", path=path)
    return item.role


def _content(
    given: str | Sequence[Said | ReasoningText], path: str
) -> str | list[TextPart | ImagePart]:
    if isinstance(given, str):
        return given
    return [_part(part, path) for part in given]


def _part(part: Said | ReasoningText, path: str) -> TextPart | ImagePart:
    if isinstance(part, ReasoningText):
        raise Invalid("Thoughts belong into a reasoning item.", path=f"{path}.content")
    if isinstance(part, InputImage):
        return ImagePart(ImageUrl(part.image_url))
    return TextPart(part.text)


def _thoughts(item: Item, path: str) -> str | None:
    content = item.content or []
    if isinstance(content, str):
        return content
    texts = [part.text for part in content if isinstance(part, ReasoningText)]
    if len(texts) < len(content):
        raise Invalid("A reasoning item holds reasoning_text.", path=f"{path}.content")
    return "\n".join(texts or [part.text for part in item.summary or ()]) or None
