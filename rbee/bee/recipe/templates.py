"""Fills templates, and types a question the way people do.

In a template {a|b} stands for either, and may stand inside another; $x is a slot. Templates
live in the data files; this module does not know any.
"""

import re

from rbee.bee.recipe.shapes import Rng
from rbee.bee.recipe.tables import load

TYPING: dict[str, list[str]] = load("typing")


def say(r: Rng, template: str, **slots: object) -> str:
    """Picks one of every {a|b}, then puts in the slots."""
    while found := re.search(r"\{([^{}]*)\}", template):
        picked = r.choice(found[1].split("|"))
        template = template[: found.start()] + picked + template[found.end() :]
    return re.sub(r"\$([a-z]+)", lambda slot: str(slots[slot[1]]), template)


def sloppy(r: Rng, ask: str, chance: float = 0.3) -> str:
    """The same question, perhaps without its mark, in lower case, or with a word around it."""
    if not re.search(r"[.?!]$", ask) and r.random() < 0.7 and len(ask) > 12:
        ask += r.choice("???.")
    if r.random() >= chance:
        return ask
    low = ask if ask.startswith("I ") else ask[0].lower() + ask[1:]
    bare = ask.rstrip("?.!")
    ways = [
        ask.lower(),
        bare,
        bare.lower(),
        r.choice(TYPING["before_lower"]) + low,
        r.choice(TYPING["before"]) + ask,
        bare + r.choice(TYPING["after"]),
    ]
    return r.choice(ways)
