"""The requests that scenarios are made of: every kind of answer, by every door. Data only.

Their answers are such that no rounding changes a word, whatever runs beside them and however their
beginning was computed: greedy ones lead by half a logit at every token (counting is what Bee does
surest; its JSON and its long calls are helped by a bias), and the sampled one says the same a
little hotter and a little colder. So a difference is always somebody's mistake.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rbee.keeper.chaos.plan import Door

MODEL = "bee"
TOKENS = 240
"""Of a long answer: some tenths of a second, in which something can happen to it."""


FIRST_WORD, VOCABULARY = 300, 1_790
"""Of Bee's tokens: those before are single bytes and marks."""
LONG_PROMPT = 1_900


@dataclass(frozen=True)
class Ask:
    """A request by one door; `long` ones are long enough to be hit."""

    name: str
    door: Door
    body: Mapping[str, Any]
    long: bool = True
    parses: bool = False
    """The text of every choice must be JSON."""
    held: int = 0
    """Tokens of a piece, where none of it is said before all of it is there; 0: as they come."""


def _said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


CHAT: dict[str, Any] = {
    "messages": _said("Count from 1 to 20."),
    "ignore_eos": True,
    "temperature": 0.0,
    "max_tokens": TOKENS,
}
LONGER: dict[str, Any] = {**CHAT, "logit_bias": {"1215": 50}}
"""One word, over and over. What Bee says by itself is near to something else after some hundreds of
tokens."""
COUNTING = "<|im_start|>user\nCount from 1 to 30.<|im_end|>\n<|im_start|>assistant\n1, 2, 3,"
PROMPT: dict[str, Any] = {
    "prompt": COUNTING,
    "ignore_eos": True,
    "temperature": 0.0,
    "max_tokens": TOKENS,
}
SAMPLED: dict[str, Any] = {**PROMPT, "temperature": 0.8, "seed": 14}
"""It parts from the greedy answer after 170 characters or so."""
WORDS = 78


def _honey(words: int) -> dict[str, Any]:
    """The schema of an object that lists the word so often."""
    several = {"type": "array", "items": {"const": "honey"}, "minItems": words, "maxItems": words}
    return {
        "type": "object",
        "properties": {"words": several},
        "required": ["words"],
        "additionalProperties": False,
    }


SCHEMA = _honey(WORDS)
WRITTEN = (285, 1215, 270, 447, 608, 292, 268, 443, 101)
"""The tokens of such a list without a blank too many."""
JSON: dict[str, Any] = {
    "messages": _said("Give me a JSON object with name Torvik and age 41."),
    "temperature": 0.0,
    "max_tokens": 2 * TOKENS,
    "logit_bias": {str(token): 50 for token in WRITTEN},
}
TOOLS: dict[str, Any] = {
    "messages": _said("What is the weather in Lisbon?"),
    "temperature": 0.0,
    "max_tokens": TOKENS,
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "description": "Get the current weather for a city",
                "parameters": {
                    "type": "object",
                    "properties": {"city": {"type": "string"}},
                    "required": ["city"],
                },
            },
        }
    ],
}
CALLS_WORDS, CALLS = 16, 5
"""Words in the argument of a long call, and calls in an answer. A call is said when it is whole, so
that only the first tells a client that there is an answer: what is hit is a later one."""
CALLED = (*WRITTEN, 95, 297, 301, 405, 642)
"""The tokens of such a call."""
CALL_TOKENS = 20 + 3 * CALLS_WORDS
END_TOKENS = (0, 2)
LONG_CALLS: dict[str, Any] = {
    "messages": _said("Write the words."),
    "temperature": 0.0,
    "max_tokens": CALLS * CALL_TOKENS,
    "logit_bias": {
        **{str(token): 50 for token in CALLED},
        **{str(token): -100 for token in END_TOKENS},
    },
    "tool_choice": "required",
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "write",
                "description": "Write words",
                "parameters": _honey(CALLS_WORDS),
            },
        }
    ],
}
"""Call after call, as many as fit: the end of an answer is forbidden, and no call is cut."""
FORMAT: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {"name": "words", "schema": SCHEMA, "strict": True},
}

KINDS: tuple[Ask, ...] = (
    Ask("chat", "sdk", CHAT),
    Ask("prompt", "sdk", PROMPT),
    Ask("sampled", "sdk", SAMPLED),
    Ask("schema", "sdk", {**JSON, "json_schema": SCHEMA}, parses=True),
    Ask("tools", "sdk", TOOLS, long=False),
    Ask("calls", "sdk", LONG_CALLS, held=CALL_TOKENS),
    Ask("choices", "sdk", {**PROMPT, "n": 2}),
    Ask("logprobs", "sdk", {**PROMPT, "logprobs": 1}),
)
"""Of the SDK, awaiting or not."""
DECK: tuple[Ask, ...] = (
    *(replace(ask, name=f"sdk {ask.name}") for ask in KINDS),
    *(replace(ask, name=f"blocking {ask.name}", door="blocking") for ask in KINDS),
    Ask("chat", "chat", CHAT),
    Ask("chat schema", "chat", {**JSON, "response_format": FORMAT}, parses=True),
    Ask("chat tools", "chat", TOOLS, long=False),
    Ask("chat calls", "chat", LONG_CALLS, held=CALL_TOKENS),
    Ask("chat choices", "chat", {**CHAT, "n": 2}),
    Ask("chat logprobs", "chat", {**CHAT, "logprobs": True, "top_logprobs": 1}),
    Ask("completions", "completions", PROMPT),
    Ask("completions sampled", "completions", SAMPLED),
    Ask("completions choices", "completions", {**PROMPT, "n": 2}),
    Ask("completions logprobs", "completions", {**PROMPT, "logprobs": 1}),
)


def noise(salt: int) -> list[int]:
    """A prompt as long as Bee can read, in tokens; no two begin alike."""
    draw = random.Random(salt)
    return [draw.randrange(FIRST_WORD, VOCABULARY) for _ in range(LONG_PROMPT)]


def deck(doors: tuple[Door, ...]) -> list[Ask]:
    """The requests that come in by these doors."""
    return [ask for ask in DECK if ask.door in doors]
