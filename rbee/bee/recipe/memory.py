"""Something is told, other things are said, and then it is asked for."""

from rbee.bee.recipe.shapes import Rng, Turn
from rbee.bee.recipe.skills import single
from rbee.bee.recipe.tables import load
from rbee.bee.recipe.templates import say, sloppy
from rbee.bee.recipe.words import CITIES, LISTS, name, word

_MEMORY: list[dict[str, str]] = load("memory")["memory"]


def memory(r: Rng) -> list[Turn]:
    n, colour, pet, city = name(r), r.choice(LISTS["colours"]), name(r), r.choice(CITIES)
    wording = r.choice(_MEMORY)
    slots = {"n": n, "colour": colour, "pet": pet, "city": city, "w": word(r)}
    turns = [(say(r, wording["tell"], **slots), say(r, wording["reply"], **slots))]
    for _ in range(r.choice([0, 0, 1, 1, 2, 3])):
        turns += single(r)
    ask = sloppy(r, say(r, wording["ask"]))
    return [*turns, (ask, say(r, wording["answer"], **slots))]
