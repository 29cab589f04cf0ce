"""Writes a conversation as the text Bee reads: the same text as chat_template.jinja gives."""

import json

from rbee.bee.recipe.shapes import Message, Sample, Turn

_TOOLS_BEFORE = "# Tools\nYou may call these functions:\n<tools>\n"
_TOOLS_AFTER = (
    "</tools>\nTo call one, answer with:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)


def chat(turns: list[Turn], system: str = "") -> list[Message]:
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    for ask, answer in turns:
        messages.append({"role": "user", "content": ask})
        messages.append({"role": "assistant", "content": answer})
    return messages


def render(messages: list[Message], tools: list[Message] | None = None) -> Sample:
    out: Sample = []
    if system := _system(messages[0], tools):
        out.append((f"<|im_start|>system\n{system}<|im_end|>\n", False))
    for message in messages:
        out += _message(message)
    return out


def _system(first: Message, tools: list[Message] | None) -> str:
    system: str = first["content"] if first["role"] == "system" else ""
    if not tools:
        return system
    listed = "".join(json.dumps(tool, ensure_ascii=False) + "\n" for tool in tools)
    system = system or "You are a helpful assistant."
    return f"{system}\n\n{_TOOLS_BEFORE}{listed}{_TOOLS_AFTER}"


def _message(message: Message) -> Sample:
    content = message["content"]
    match message["role"]:
        case "user":
            return [(f"<|im_start|>user\n{content}<|im_end|>\n", False)]
        case "tool":
            response = f"<tool_response>\n{content}\n</tool_response>"
            return [(f"<|im_start|>user\n{response}<|im_end|>\n", False)]
        case "assistant":
            answer = f"{content}{_calls(message)}<|im_end|>"
            return [("<|im_start|>assistant\n", False), (answer, True), ("\n", False)]
    return []  # the system message already stands at the top


def _calls(message: Message) -> str:
    return "\n".join(
        f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>"
        for call in message.get("tool_calls", [])
    )
