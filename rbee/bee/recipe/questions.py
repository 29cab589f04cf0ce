"""The fixed examination: questions of every skill, and how an answer is judged.

These questions were looked at while the corpus was improved, so they are a regression test, not
a measure of what Bee has understood; evaluate_random.py asks for that. Knows no model.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from rbee.bee.recipe.shapes import Message
from rbee.bee.recipe.tables import Table, load

UNFINISHED = " [did not stop]"
"""Stands behind an answer that ran into the token limit, so that no pattern matches it."""


@dataclass(frozen=True)
class Question:
    skill: str
    messages: list[Message]
    want: str
    """A regular expression for the whole answer."""
    tools: list[Message] = field(default_factory=list)
    words: range | None = None
    """How many words the answer may have."""

    def accepts(self, answer: str) -> bool:
        if self.words is not None and len(answer.split()) not in self.words:
            return False
        return bool(re.fullmatch(self.want, answer, re.DOTALL))

    @property
    def shown(self) -> str:
        """The system prompt, where there is one, and what the user says first."""
        has_system = self.messages[0]["role"] == "system"
        return " / ".join(message["content"] for message in self.messages[: 1 + has_system])


@dataclass(frozen=True)
class Completion:
    """The start of a text without a chat, and a pattern for how it goes on."""

    start: str
    want: str

    def accepts(self, answer: str) -> bool:
        return bool(re.fullmatch(self.want, answer, re.DOTALL))


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _tool(name: str, described: Table) -> Message:
    arguments: dict[str, str] = described["arguments"]
    parameters = {
        "type": "object",
        "properties": {key: {"type": kind} for key, kind in arguments.items()},
        "required": list(arguments),
    }
    function = {"name": name, "description": described["what"], "parameters": parameters}
    return {"type": "function", "function": function}


def _chats(table: Table) -> Iterator[Question]:
    for skill, cases in table["single"].items():
        for ask, want in cases:
            yield Question(skill, [_user(ask)], want)
    for case in table["memory"]:
        roles = [("user", "assistant")[i % 2] for i in range(len(case["said"]))]
        said = zip(roles, case["said"], strict=True)
        messages = [{"role": role, "content": text} for role, text in said]
        yield Question("memory", messages, case["want"])
    for system, ask, want in table["systems"]:
        messages = [{"role": "system", "content": system}, _user(ask)]
        yield Question("system prompt", messages, want)


def _tool_calls(table: Table, tools: dict[str, Message]) -> Iterator[Question]:
    for case in table["tool_calls"]:
        call = f"<tool_call>\n{json.dumps(case['call'])}\n</tool_call>"
        offered = [tools[name] for name in case["tools"]]
        yield Question("tool call", [_user(case["ask"])], re.escape(call), offered)
    case = table["no_call"]
    offered = [tools[name] for name in case["tools"]]
    yield Question("tool call", [_user(case["ask"])], case["want"], offered)


def _tool_answers(table: Table, tools: dict[str, Message]) -> Iterator[Question]:
    for case in table["tool_answers"]:
        function = {"name": case["tool"], "arguments": json.dumps(case["arguments"])}
        call = {"id": "1", "type": "function", "function": function}
        messages: list[Message] = [
            _user(case["ask"]),
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": case["result"]},
        ]
        yield Question("tool answer", messages, case["want"], [tools[case["tool"]]])


def _stories(table: Table) -> Iterator[Question]:
    case = table["stories"]
    words = range(case["least_words"], case["most_words"] + 1)
    ended = f"(?!.*{re.escape(UNFINISHED)}).*"
    for ask in case["asks"]:
        yield Question("story", [_user(ask)], ended, words=words)


def questions() -> list[Question]:
    """All that are asked as a chat, in the order of the examination."""
    table = load("questions")
    tools = {name: _tool(name, described) for name, described in table["tools"].items()}
    return [
        *_chats(table),
        *_tool_calls(table, tools),
        *_tool_answers(table, tools),
        *_stories(table),
    ]


def completions() -> list[Completion]:
    return [Completion(start, want) for start, want in load("questions")["completions"]]


def prompts() -> set[str]:
    """What could stand word for word in the training data: every short answer's question."""
    asked = [q for q in questions() if q.skill not in ("tool answer", "story")]
    return {question.messages[-1]["content"] for question in asked}
