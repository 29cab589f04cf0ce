"""Conversations in which functions are offered, and mostly called."""

import json

from rbee.bee.recipe.shapes import Message, Rng
from rbee.bee.recipe.systems import generic_system
from rbee.bee.recipe.talk import single_small_talk
from rbee.bee.recipe.toolbox import ToolCase, tool_case


def with_tools(r: Rng) -> tuple[list[Message], list[Message]]:
    """Functions, and the messages of one conversation that may call them."""
    cases = _cases(r)
    tools = [case.tool for case in cases]
    r.shuffle(tools)
    messages: list[Message] = []
    if r.random() < 0.4:
        messages.append({"role": "system", "content": generic_system(r)})
    if r.random() < 0.18:  # nothing that a function could do
        ask, answer = single_small_talk(r)
        messages.append({"role": "user", "content": ask})
        messages.append({"role": "assistant", "content": answer})
        return tools, messages
    for case in cases[: r.choice([1, 1, 2])]:
        messages += _called(case)
    return tools, messages


def _cases(r: Rng) -> list[ToolCase]:
    """Up to three functions, of different names; the first is not described like another."""
    cases = [tool_case(r)]
    for _ in range(r.choice([0, 0, 1, 1, 2])):
        other = tool_case(r)
        names = [_function(case)["name"] for case in cases]
        described = _function(cases[0]).get("description")
        function = _function(other)
        if function["name"] not in names and function.get("description") != described:
            cases.append(other)
    return cases


def _function(case: ToolCase) -> Message:
    function: Message = case.tool["function"]
    return function


def _called(case: ToolCase) -> list[Message]:
    call = {"name": _function(case)["name"], "arguments": case.arguments}
    result = case.result if isinstance(case.result, str) else json.dumps(case.result)
    return [
        {"role": "user", "content": case.ask},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": result},
        {"role": "assistant", "content": case.answer},
    ]
