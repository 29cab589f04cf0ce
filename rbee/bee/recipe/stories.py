"""Stories: one sentence of every part, some parts left out."""

from rbee.bee.recipe.shapes import Rng, Turn
from rbee.bee.recipe.tables import load
from rbee.bee.recipe.templates import say, sloppy
from rbee.bee.recipe.words import LISTS, name

_STORY = load("stories")


def story(r: Rng, topic: str = "") -> str:
    slots = {
        "hero": name(r),
        "kind": topic or r.choice(_STORY["kinds"]),
        "friend": name(r),
        "other": r.choice(_STORY["friends"]),
        "find": r.choice(_STORY["finds"]),
        "place": r.choice(_STORY["places"]),
        "trouble": r.choice(_STORY["troubles"]),
        "help": r.choice(_STORY["helps"]),
    }
    # A part with one sentence takes no draw: the order of the draws makes the corpus.
    told = [r.choice(part) if len(part) > 1 else part[0] for part in _STORY["parts"]]
    keep = sorted(r.sample(_STORY["optional"], r.randint(2, 4)) + _STORY["always"])
    return " ".join(say(r, told[i], **slots) for i in keep)


def story_turn(r: Rng) -> list[Turn]:
    topic = r.choice(LISTS["animals"]) if r.random() < 0.3 else ""
    about = f" about a {topic}" if topic else say(r, _STORY["about"])
    ask = say(r, _STORY["ask"], about=about)
    bee = "bee" in ask or "hive" in ask
    return [(sloppy(r, ask, 0.2), story(r, topic or ("bee" if bee else "")))]
