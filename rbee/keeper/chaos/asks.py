"""The requests that scenarios are made of: every kind of answer, by every door. Data only.

Their answers are such that no rounding changes a word, whatever runs beside them and however their
beginning was computed: greedy ones lead by half a logit at every token (counting is what Bee does
surest; its JSON is helped by a bias), and the sampled one says the same a little hotter and a
little colder. So a difference is always somebody's mistake.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
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


def _said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


CHAT: dict[str, Any] = {
    "messages": _said("Count from 1 to 20."),
    "ignore_eos": True,
    "temperature": 0.0,
    "max_tokens": TOKENS,
}
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
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "words": {
            "type": "array",
            "items": {"const": "honey"},
            "minItems": WORDS,
            "maxItems": WORDS,
        }
    },
    "required": ["words"],
    "additionalProperties": False,
}
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
FORMAT: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {"name": "words", "schema": SCHEMA, "strict": True},
}

KINDS: dict[str, tuple[dict[str, Any], bool, bool]] = {
    "chat": (CHAT, True, False),
    "prompt": (PROMPT, True, False),
    "sampled": (SAMPLED, True, False),
    "schema": ({**JSON, "json_schema": SCHEMA}, True, True),
    "tools": (TOOLS, False, False),
    "choices": ({**PROMPT, "n": 2}, True, False),
    "logprobs": ({**PROMPT, "logprobs": 1}, True, False),
}
"""Of the SDK: (body, long, parses)."""
DECK: tuple[Ask, ...] = (
    *(Ask(f"sdk {kind}", "sdk", *rest) for kind, rest in KINDS.items()),
    *(Ask(f"blocking {kind}", "blocking", *rest) for kind, rest in KINDS.items()),
    Ask("chat", "chat", CHAT),
    Ask("chat schema", "chat", {**JSON, "response_format": FORMAT}, parses=True),
    Ask("chat tools", "chat", TOOLS, long=False),
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
