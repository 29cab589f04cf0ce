"""Spelling, reversing, copying, counting, listing: answers made of the question's own parts."""

from rbee.bee.recipe.shapes import Rng, Turn
from rbee.bee.recipe.tables import load
from rbee.bee.recipe.templates import say, sloppy
from rbee.bee.recipe.words import DAYS, LISTS, MONTHS, NUMBERS, WORDS, made_up, name, word

_ASK = load("letters")
_THREE_LETTERS = [w for w in WORDS if len(w) == 3]
_CONSONANTS = "bcdfghjklmnprstvwz"
_SHORT_WORDS = [w for w in WORDS if len(w) < 8]


def spell(r: Rng) -> list[Turn]:
    w = word(r).lower()
    w = w if 2 <= len(w) <= 9 else made_up(r, 1) + "a"
    return [(say(r, _ASK["spell"], w=w), "-".join(w))]


def reverse(r: Rng) -> list[Turn]:
    if r.random() < 0.3:
        w = r.choice(_THREE_LETTERS)
    else:
        w = "".join(r.choice(letters) for letters in (_CONSONANTS, "aeiou", _CONSONANTS))
    return [(say(r, _ASK["reverse"], w=w), w[::-1])]


def repeat(r: Rng) -> list[Turn]:
    text = _something_to_repeat(r)
    shout = text.upper() if len(text) < 9 else text
    text = r.choice([text, text, text, text.capitalize(), shout, text + "!", text + "."])
    text = text.strip('"')
    return [(say(r, _ASK["repeat"], t=text), text)]


def _something_to_repeat(r: Rng) -> str:
    kind = r.random()
    if kind < 0.15:
        return str(r.randint(0, 10 ** r.randint(1, 6)))
    if kind < 0.25:
        return " ".join(name(r) for _ in range(r.randint(1, 3)))
    if kind < 0.35:
        return say(r, r.choice(_ASK["phrases"]), a=word(r), b=word(r))
    return " ".join(word(r) for _ in range(r.choice([1, 1, 2, 3, 4, 5, 6, 8, 10])))


def letter_case(r: Rng) -> list[Turn]:
    w = word(r)
    kind, out, given = r.choice([("upper", w.upper(), w), ("lower", w.lower(), w.upper())])
    return [(say(r, _ASK[kind], w=given), out)]


def word_length(r: Rng) -> list[Turn]:
    w = r.choice(_SHORT_WORDS)
    return [(say(r, _ASK["length"], w=w), f"The word {w} has {len(w)} letters.")]


def counting(r: Rng) -> list[Turn]:
    low = r.choice([1, 1, 1, 0, r.randint(0, 80)])
    high = low + r.randint(1, 15)
    up = r.random() < 0.8
    numbers = range(low, high + 1) if up else range(high, low - 1, -1)
    wording = _ASK["count"]["up" if up else "down"]
    ask = say(r, wording, a=_spoken(r, numbers[0]), b=_spoken(r, numbers[-1]))
    if up and low == 1 and r.random() < 0.4:
        ask = say(r, _ASK["count"]["from_one"], b=_spoken(r, high))
    return [(sloppy(r, ask, 0.15), ", ".join(map(str, numbers)))]


def _spoken(r: Rng, n: int) -> str:
    return NUMBERS[n] if n <= 10 and r.random() < 0.3 else str(n)


def listing(r: Rng) -> list[Turn]:
    kind = r.choice([*LISTS, "days of the week", "months of the year"])
    if kind not in LISTS:
        items = DAYS if kind.startswith("days") else MONTHS
        ask = say(r, _ASK["list"]["all"], k=kind)
        return [(sloppy(r, ask), ", ".join(items))]
    n = r.randint(1, 8)
    shown = r.choice([kind, kind[:-1]]) if n == 1 else kind
    number = r.choice([n, NUMBERS[n]])
    shown = shown.replace("colour", r.choice(["colour", "colour", "color"]))
    ask = say(r, _ASK["list"]["some"], n=number, k=shown)
    return [(sloppy(r, ask), ", ".join(LISTS[kind][:n]))]
