"""The requests of `rbee chaos` answer the same whatever rounds how: measured, not believed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rbee.client.requests import Collected, infer
from rbee.client.sync import Client
from rbee.contracts.answers import Choice
from rbee.contracts.events import Token
from rbee.keeper.chaos.asks import (
    CALL_TOKENS,
    CALLS,
    CALLS_WORDS,
    CHAT,
    JSON,
    LONG_CALLS,
    LONGER,
    PROMPT,
    SAMPLED,
    SCHEMA,
    TOOLS,
    WORDS,
    WRITTEN,
    noise,
)
from rbee.keeper.chaos.plan import Flood
from rbee.keeper.chaos.scenarios import SCENARIOS
from tests.keeper.command import Rbee

ENDS = (0, 2)
"""Bee's end tokens, which `ignore_eos` forbids."""
LEAD = 0.45
(EVENT,) = SCENARIOS["overload"].events
assert isinstance(EVENT, Flood)
FLOOD = {**LONGER, "max_tokens": EVENT.tokens}


def choice(fleet: Rbee, body: dict[str, Any], **fields: Any) -> Choice:
    collected = Collected()
    with Client(fleet.queen).events(infer(None, {"model": "bee", **body, **fields})) as events:
        for event in events:
            collected.feed(event)
    return collected.answer("").choices[0]


@pytest.mark.parametrize(
    "body", [CHAT, PROMPT, TOOLS, FLOOD], ids=["chat", "prompt", "tools", "flood"]
)
def test_a_greedy_answer_leads_at_every_token(fleet: Rbee, body: dict[str, Any]) -> None:
    scored = choice(fleet, body, logprobs=5).logprobs or []
    assert len(scored) > 20
    helped = {int(token): bias for token, bias in body.get("logit_bias", {}).items()}
    for one in scored:
        said = {t.token_id: (t.logprob or 0.0) + helped.get(t.token_id, 0) for t in one.top}
        own = (one.logprob or 0.0) + helped.get(one.token_id, 0)
        others = [o for token, o in said.items() if token not in (one.token_id, *ENDS)]
        assert others and all(own - o > LEAD for o in others), one


def test_the_sampled_answer_is_the_same_a_little_hotter_and_a_little_colder(fleet: Rbee) -> None:
    texts = {t: choice(fleet, SAMPLED, temperature=t).text for t in (0.75, 0.8, 0.85, 0.9)}
    assert len(set(texts.values())) == 1, texts
    assert texts[0.8] != choice(fleet, PROMPT).text, "it is no other than the greedy one"


def test_the_list_is_written_of_the_tokens_that_are_helped(fleet: Rbee) -> None:
    made = choice(fleet, JSON, json_schema=SCHEMA)
    assert set(made.token_ids) - set(ENDS) <= set(WRITTEN)
    assert made.text == json.dumps({"words": ["honey"] * WORDS})


def test_long_calls_are_whole_and_the_same_at_any_heat(fleet: Rbee) -> None:
    said = json.dumps({"words": ["honey"] * CALLS_WORDS})
    for heat, seed in ((0.0, 1), (2.0, 2)):
        made = choice(fleet, LONG_CALLS, temperature=heat, seed=seed)
        assert [call.function.arguments for call in made.tool_calls or ()] == [said] * CALLS
        assert not made.text, "what does not fit would be said as text"


def test_a_long_call_is_said_when_it_is_whole(fleet: Rbee) -> None:
    """So its middle is known by what is computed, not by what is heard: `Ask.held`."""
    with Client(fleet.queen).events(infer(None, {"model": "bee", **LONG_CALLS})) as events:
        told = [event for event in events if isinstance(event, Token)]
    assert [len(event.tool_calls or ()) for event in told if event.tool_calls] == [1] * CALLS
    assert all(len(event.token_ids) in (CALL_TOKENS - 1, CALL_TOKENS) for event in told[:CALLS])


def test_noise_is_a_prompt_that_bee_can_read(fleet: Rbee) -> None:
    assert noise(1) == noise(1) != noise(2)
    assert choice(fleet, {"prompt": noise(1), "max_tokens": 1, "ignore_eos": True}).token_ids
