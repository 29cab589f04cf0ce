"""The requests of `rbee chaos` answer the same whatever rounds how: measured, not believed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rbee.client.requests import Collected, infer
from rbee.client.sync import Client
from rbee.contracts.answers import Choice
from rbee.keeper.chaos.asks import CHAT, JSON, PROMPT, SAMPLED, SCHEMA, TOOLS, WORDS, WRITTEN, noise
from tests.keeper.command import Rbee

ENDS = (0, 2)
"""Bee's end tokens, which `ignore_eos` forbids."""
LEAD = 0.45


def choice(fleet: Rbee, body: dict[str, Any], **fields: Any) -> Choice:
    collected = Collected()
    with Client(fleet.queen).events(infer(None, {"model": "bee", **body, **fields})) as events:
        for event in events:
            collected.feed(event)
    return collected.answer("").choices[0]


@pytest.mark.parametrize("body", [CHAT, PROMPT, TOOLS], ids=["chat", "prompt", "tools"])
def test_a_greedy_answer_leads_at_every_token(fleet: Rbee, body: dict[str, Any]) -> None:
    scored = choice(fleet, body, logprobs=5).logprobs or []
    assert len(scored) > 20
    for one in scored:
        others = [t.logprob for t in one.top if t.token_id not in (one.token_id, *ENDS)]
        own = one.logprob
        assert own is not None and all(o is not None and own - o > LEAD for o in others), one


def test_the_sampled_answer_is_the_same_a_little_hotter_and_a_little_colder(fleet: Rbee) -> None:
    texts = {t: choice(fleet, SAMPLED, temperature=t).text for t in (0.75, 0.8, 0.85, 0.9)}
    assert len(set(texts.values())) == 1, texts
    assert texts[0.8] != choice(fleet, PROMPT).text, "it is no other than the greedy one"


def test_the_list_is_written_of_the_tokens_that_are_helped(fleet: Rbee) -> None:
    made = choice(fleet, JSON, json_schema=SCHEMA)
    assert set(made.token_ids) - set(ENDS) <= set(WRITTEN)
    assert made.text == json.dumps({"words": ["honey"] * WORDS})


def test_noise_is_a_prompt_that_bee_can_read(fleet: Rbee) -> None:
    assert noise(1) == noise(1) != noise(2)
    assert choice(fleet, {"prompt": noise(1), "max_tokens": 1, "ignore_eos": True}).token_ids
