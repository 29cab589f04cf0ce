"""Questions that are answered in JSON."""

import json
from collections.abc import Callable

from rbee.bee.recipe.shapes import Rng, Turn
from rbee.bee.recipe.tables import load
from rbee.bee.recipe.templates import say
from rbee.bee.recipe.words import CITIES, COUNTRIES, LISTS, NUMBERS, made_up, name, word

_ASK = load("json")
Field = tuple[str, Callable[[Rng], object]]

_FIELDS: list[Field] = [
    ("name", name),
    ("age", lambda r: r.randint(1, 99)),
    ("city", lambda r: r.choice(CITIES)),
    ("colour", lambda r: r.choice(LISTS["colours"])),
    ("animal", lambda r: r.choice(LISTS["animals"])),
    ("country", lambda r: r.choice(COUNTRIES)),
    ("id", lambda r: r.randint(0, 9999)),
    ("title", word),
    ("port", lambda r: r.randint(1000, 9999)),
    ("count", lambda r: r.randint(0, 99)),
    ("fruit", lambda r: r.choice(LISTS["fruits"])),
    ("active", lambda r: r.random() < 0.5),
]


def json_object(r: Rng) -> list[Turn]:
    fields: dict[str, object] = {}
    spoken = []
    for key, make in _some_fields(r):
        value = fields[key] = make(r)
        shown = json.dumps(value) if isinstance(value, bool) else value
        spoken.append(say(r, r.choice(_ASK["fields"]), k=key, v=shown))
    return [(say(r, _ASK["object"], b=_enumeration(r, spoken)), json.dumps(fields))]


def _some_fields(r: Rng) -> list[Field]:
    """One to three fields, often a name and an age, now and then with a key nobody has seen."""
    odd: list[Field] = [(made_up(r, 2), word), (word(r), lambda r: r.randint(0, 99))]
    n = r.choice([1, 2, 2, 2, 3, 3])
    return _FIELDS[:2] if n == 2 and r.random() < 0.5 else r.sample(_FIELDS + odd, n)


def _enumeration(r: Rng, parts: list[str]) -> str:
    *head, last = parts
    return ", ".join(head) + r.choice(_ASK["last"]) + last if head else last


def json_list(r: Rng) -> list[Turn]:
    kind = r.choice(list(LISTS))
    n = r.randint(1, 6)
    ask = say(r, _ASK["list"], n=r.choice([n, NUMBERS[n]]), k=kind)
    return [(ask, json.dumps(LISTS[kind][:n]))]
