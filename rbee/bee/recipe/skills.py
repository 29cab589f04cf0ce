"""Every skill that one question can ask for, and how often each is asked."""

from rbee.bee.recipe import facts, letters, structured, talk
from rbee.bee.recipe.shapes import Rng, Skill, Turn
from rbee.bee.recipe.tables import load
from rbee.bee.recipe.templates import say
from rbee.bee.recipe.words import LISTS, name

_IN_ONE = [(entry["ask"], entry["answer"]) for entry in load("memory")["in_one"]]


def memory_in_one(r: Rng) -> list[Turn]:
    """Something told and asked in the same breath."""
    n, colour = name(r), r.choice(LISTS["colours"])
    ask, answer = r.choice(_IN_ONE)
    other = name(r)
    return [(say(r, ask, n=n, c=colour, m=other), say(r, answer, n=n, c=colour))]


SKILLS: list[tuple[float, Skill]] = [
    (9, talk.from_table(talk.SMALL_TALK)),
    (8, talk.from_table(talk.RBEE_HELP)),
    (10, talk.unknown),
    (2, talk.from_table(talk.BEE_FACTS)),
    (1, talk.from_table(talk.CODE)),
    (12, facts.fact_turn(facts.arithmetic)),
    (7, facts.fact_turn(facts.capital, facts.capital, facts.country_of)),
    (2, facts.fact_turn(facts.calendar)),
    (2, facts.fact_turn(facts.opposite)),
    (1.5, facts.fact_turn(facts.parity)),
    (4, facts.fact_turn(facts.compare)),
    (1, facts.too_big),
    (6, letters.spell),
    (3, letters.reverse),
    (9, letters.repeat),
    (2.5, letters.letter_case),
    (1, letters.word_length),
    (3, letters.counting),
    (3, letters.listing),
    (5.5, structured.json_object),
    (1, talk.unknown_capital),
    (0.7, structured.json_list),
    (2, memory_in_one),
]


def single(r: Rng) -> list[Turn]:
    return r.choices([skill for _, skill in SKILLS], [weight for weight, _ in SKILLS])[0](r)
