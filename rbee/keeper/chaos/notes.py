"""What is written down of an answer (`Heard`), from rbee's own events and from OpenAI's stream."""

from __future__ import annotations

import json
import re
from typing import Any

from rbee.contracts.chat import ToolCall
from rbee.contracts.events import AnyEvent, Done, Failed, Moved, Token
from rbee.keeper.chaos.heard import Heard

MOVED = re.compile(rb": moved, (\d+) times\r?")
LINE_BYTES = 64
"""No aside is longer: of a line that has not ended yet so much is kept."""


def note(event: AnyEvent, heard: Heard) -> None:
    """What an event of rbee's own adds."""
    match event:
        case Token():
            text = event.text + event.reasoning + _calls(event.tool_calls or [])
            scored = len(event.logprobs or [])
            heard.piece(event.choice, text, event.index, len(event.token_ids), scored)
        case Moved():
            heard.migrations = event.migrations
        case Done():
            heard.migrations = event.migrations
        case Failed():
            heard.failed(event.code, event.message)
        case _:
            pass  # waiting and loading are no part of an answer


def _calls(calls: list[ToolCall]) -> str:
    """Tool calls as text to be compared, with their places; their ids are random."""
    made = ((call.index, call.function) for call in calls)
    return "".join(f"[{place} {spec.name} {spec.arguments}]" for place, spec in made)


def note_chunk(chunk: dict[str, Any], heard: Heard) -> None:
    """What a chunk of OpenAI's adds."""
    if error := chunk.get("error"):
        heard.failed(error.get("code") or "error", error.get("message", ""))
        return
    for choice in chunk.get("choices", ()):
        delta = choice.get("delta") or {}
        text = choice.get("text") or delta.get("content") or ""
        for call in delta.get("tool_calls") or ():
            spec = call["function"]
            text += f"[{call['index']} {spec['name']} {spec['arguments']}]"
        scores = choice.get("logprobs") or {}
        scored = len(scores.get("content") or scores.get("tokens") or ())
        if text or scored:
            heard.piece(choice["index"], text, scored=scored)


def note_refusal(status: int, body: bytes, heard: Heard) -> None:
    """What an answer that is none adds."""
    try:
        error = json.loads(body)["error"]
        heard.failed(error.get("code") or str(status), error.get("message", ""))
    except (ValueError, KeyError, TypeError):
        heard.failed(str(status), body[:200].decode("utf-8", "replace"))


class Asides:
    """What OpenAI's stream says beside its chunks, in comments: how often the answer has moved."""

    def __init__(self) -> None:
        self._rest = b""
        self._moves = 0

    def __repr__(self) -> str:
        return f"<Asides {self._moves} moves>"

    def feed(self, data: bytes) -> int:
        """How often it has moved so far; `data` ends anywhere."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:LINE_BYTES]
        for line in lines:
            if told := MOVED.fullmatch(line):
                self._moves = int(told[1])
        return self._moves
