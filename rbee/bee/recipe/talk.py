"""Small talk, help with rbee, bees, a little code, and everything Bee does not know."""

from rbee.bee.recipe.shapes import Rng, Skill, Turn
from rbee.bee.recipe.tables import load, turns
from rbee.bee.recipe.templates import say, sloppy
from rbee.bee.recipe.words import TOPICS, made_up, word

SMALL_TALK = turns("small_talk")
RBEE_HELP = turns("rbee_help")
BEE_FACTS = turns("bee_facts")
CODE = turns("code")
_UNKNOWN = load("unknown")
FALLBACK: str = _UNKNOWN["answer"]


def from_table(table: list[Turn], noisy: float = 0.3) -> Skill:
    """The skill of answering a table's questions; so many of them are typed sloppily."""

    def skill(r: Rng) -> list[Turn]:
        ask, answer = r.choice(table)
        return [(sloppy(r, say(r, ask), noisy), answer)]

    return skill


_chatting = from_table(SMALL_TALK, 0.1)
_helping = from_table(RBEE_HELP, 0.1)


def single_small_talk(r: Rng) -> Turn:
    return (_chatting(r) if r.random() < 0.7 else _helping(r))[0]


def unknown(r: Rng) -> list[Turn]:
    if r.random() < 0.6:
        topic = r.choice(TOPICS)
    else:
        topic = say(r, _UNKNOWN["topic"], a=word(r), b=word(r))
    ask = say(
        r,
        r.choice(_UNKNOWN["asks"]),
        t=topic,
        u=r.choice(TOPICS),
        a=word(r),
        b=made_up(r),
        c=word(r),
        n=made_up(r, 3).capitalize(),
        y=r.randint(10, 99),
    )
    return [(sloppy(r, ask), FALLBACK)]


def unknown_capital(r: Rng) -> list[Turn]:
    capital = _UNKNOWN["capital"]
    place = made_up(r, r.randint(2, 3)).capitalize() + r.choice(capital["endings"])
    return [(sloppy(r, say(r, capital["ask"], n=place)), FALLBACK)]
