"""System prompts: those that say nothing much, and those that Bee has to obey."""

import json
import re

from rbee.bee.recipe.facts import fact, long_fact
from rbee.bee.recipe.shapes import Rng, Turn
from rbee.bee.recipe.tables import load
from rbee.bee.recipe.talk import single_small_talk
from rbee.bee.recipe.templates import say
from rbee.bee.recipe.words import name, word

_SYSTEM = load("systems")
_KINDS = [
    *("one_word", "one_word", "pirate", "pirate", "json", "json"),
    *("name", "start", "end", "only"),
]
_WITH_A_WORD = {"start": "$w! $a", "end": "$a $w!", "only": "$w"}


def generic_system(r: Rng) -> str:
    return say(r, _SYSTEM["generic"])


def with_system(r: Rng) -> tuple[str, list[Turn]]:
    """A system prompt and a conversation that obeys it."""
    kind = r.choice(_KINDS)
    if kind == "one_word":
        turns = [fact(r)[:2] for _ in range(r.choice([1, 1, 2]))]
        return say(r, _SYSTEM["one_word"]), turns
    if kind == "json":
        return _in_json(r)
    turns = [
        single_small_talk(r) if r.random() < 0.4 else long_fact(r)
        for _ in range(r.choice([1, 1, 2]))
    ]
    if kind == "pirate":
        return say(r, _SYSTEM["pirate"]), [(ask, f"Arr, matey! {answer}") for ask, answer in turns]
    if kind == "name":
        return _named(r, turns)
    return _with_a_word(r, kind, turns)


def _in_json(r: Rng) -> tuple[str, list[Turn]]:
    ask, short, _ = fact(r)
    value: object = int(short) if re.fullmatch(r"-?\d+", short) else short
    if r.random() < 0.25:
        ask, value = single_small_talk(r)
    return say(r, _SYSTEM["json"]), [(ask, json.dumps({"answer": value}))]


def _named(r: Rng, turns: list[Turn]) -> tuple[str, list[Turn]]:
    n = name(r)
    system = say(r, _SYSTEM["name"]["system"], n=n)
    ask = say(r, _SYSTEM["name"]["ask"])
    return system, [*r.choice([[], turns[:1]]), (ask, f"I am {n}.")]


def _with_a_word(r: Rng, kind: str, turns: list[Turn]) -> tuple[str, list[Turn]]:
    """Every answer starts with a word, ends with it, or is nothing else."""
    w = word(r).capitalize()
    system = say(r, _SYSTEM[kind], w=w)
    return system, [(ask, say(r, _WITH_A_WORD[kind], w=w, a=answer)) for ask, answer in turns]
