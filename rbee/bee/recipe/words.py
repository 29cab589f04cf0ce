"""The words Bee is trained with, and words that nobody has seen.

Half of what Bee copies is made up, so that copying cannot be learned by heart.
"""

from itertools import chain

from rbee.bee.recipe.shapes import Rng
from rbee.bee.recipe.tables import load

_FILE = load("words")
_SYLLABLES = _FILE["syllables"]

CAPITALS: dict[str, str] = _FILE["capitals"]
COUNTRIES = list(CAPITALS)
CITIES = list(CAPITALS.values())
LISTS: dict[str, list[str]] = _FILE["lists"]
WORDS: list[str] = [*chain(*LISTS.values()), *_FILE["words"]["common"]]
NAMES: list[str] = _FILE["words"]["names"]
NUMBERS: list[str] = _FILE["words"]["numbers"]
OPPOSITES: list[tuple[str, str]] = [(one, other) for one, other in _FILE["words"]["opposites"]]
TOPICS: list[str] = _FILE["words"]["topics"]
DAYS: list[str] = _FILE["calendar"]["days"]
MONTHS: list[str] = _FILE["calendar"]["months"]
MONTH_DAYS: list[int] = _FILE["calendar"]["month_days"]


def made_up(r: Rng, syllables: int = 0) -> str:
    """A word of so many syllables, of one to three where none are named."""
    return "".join(
        r.choice(_SYLLABLES["onsets"])
        + r.choice(_SYLLABLES["vowels"])
        + r.choice(_SYLLABLES["codas"])
        for _ in range(syllables or r.randint(1, 3))
    )


def word(r: Rng) -> str:
    return r.choice(WORDS) if r.random() < 0.5 else made_up(r)


def words(r: Rng, least: int, most: int) -> str:
    return " ".join(word(r) for _ in range(r.randint(least, most)))


def name(r: Rng) -> str:
    return r.choice(NAMES) if r.random() < 0.5 else made_up(r, r.randint(2, 3)).capitalize()


def city(r: Rng) -> str:
    """A capital, or a place that does not exist."""
    return r.choice(CITIES) if r.random() < 0.5 else name(r)
