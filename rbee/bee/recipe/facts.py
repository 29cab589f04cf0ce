"""Sums, capitals, days, opposites: questions with one short and one long answer."""

from collections.abc import Callable

from rbee.bee.recipe.shapes import Fact, Rng, Skill, Turn
from rbee.bee.recipe.tables import load
from rbee.bee.recipe.templates import say, sloppy
from rbee.bee.recipe.words import (
    CAPITALS,
    COUNTRIES,
    DAYS,
    MONTH_DAYS,
    MONTHS,
    OPPOSITES,
    name,
)

_ASK = load("facts")


def held_out(a: int, b: int) -> bool:
    """Pairs of numbers that are never trained on, so that they can be asked for later."""
    return (a * 7 + b * 13) % 17 == 0


def _operands(r: Rng) -> tuple[str, int, int]:
    while True:
        op = r.choice("++++---*")
        top = r.choice([12, 30, 99]) if op != "*" else 12
        a, b = r.randint(0, top), r.randint(0, top)
        if op == "-" and a < b and r.random() < 0.9:
            a, b = b, a
        if not held_out(a, b):
            return op, a, b


def arithmetic(r: Rng) -> Fact:
    op, a, b = _operands(r)
    wording = _ASK["sums"][op]
    # Told even where another wording is picked: the order of the draws makes the corpus.
    tale = say(r, wording["tale"], a="$a", b="$b", n=name(r), w=r.choice(_ASK["things"]))
    ask = say(r, r.choice([*wording["asks"], tale]), a=a, b=b)
    result = {"+": a + b, "-": a - b, "*": a * b}[op]
    return ask, str(result), f"{a} {wording['spoken']} {b} is {result}."


def capital(r: Rng) -> Fact:
    country = r.choice(COUNTRIES)
    city = CAPITALS[country]
    return say(r, _ASK["capital"], c=country), city, f"The capital of {country} is {city}."


def country_of(r: Rng) -> Fact:
    country = r.choice(COUNTRIES)
    city = CAPITALS[country]
    return say(r, _ASK["country"], c=city), country, f"{city} is the capital of {country}."


def calendar(r: Rng) -> Fact:
    items, kind = r.choice([(DAYS, "day"), (MONTHS, "month")])
    i = r.randrange(len(items))
    step, relation = r.choice([(1, "after"), (-1, "before")])
    if r.random() < 0.1:
        return _days_of_month(r)
    ask = say(r, _ASK["calendar"]["ask"], k=kind, rel=relation, i=items[i])
    if relation == "after" and r.random() < 0.2:
        ask = f"What comes after {items[i]}?"
    other = items[(i + step) % len(items)]
    return ask, other, f"The {kind} {relation} {items[i]} is {other}."


def _days_of_month(r: Rng) -> Fact:
    i = r.randrange(len(MONTHS))
    month, days = MONTHS[i], MONTH_DAYS[i]
    ask = say(r, _ASK["calendar"]["days_of_month"], m=month)
    return ask, str(days), f"{month} has {days} days."


def opposite(r: Rng) -> Fact:
    a, b = r.choice(OPPOSITES)
    if r.random() < 0.4:
        a, b = b, a
    return say(r, _ASK["opposite"], a=a), b, f"The opposite of {a} is {b}."


def parity(r: Rng) -> Fact:
    n = r.randint(0, 99)
    kind = "odd" if n % 2 else "even"
    if r.random() < 0.6:
        return say(r, _ASK["parity"], n=n), kind, f"{n} is {kind}."
    asked = r.choice(["odd", "even"])
    yes = "Yes" if asked == kind else "No"
    return f"Is {n} {asked}?", yes, f"{yes}, {n} is {kind}."


def compare(r: Rng) -> Fact:
    a, b = r.randint(0, 99), r.randint(0, 99)
    if held_out(a, b) or a == b:
        return compare(r)
    relation = r.choice(_ASK["relations"])
    pick = min(a, b) if relation == "smaller" else max(a, b)
    truth = f"{pick} is {relation} than {a + b - pick}."
    if r.random() < 0.6:
        return say(r, _ASK["compare"], rel=relation, a=a, b=b), str(pick), truth
    yes = "Yes" if pick == a else "No"
    return f"Is {a} {relation} than {b}?", yes, f"{yes}, {truth}"


_FACTS = [
    *(arithmetic, arithmetic, arithmetic),
    *(capital, capital, country_of),
    *(calendar, opposite, parity, compare),
]


def fact(r: Rng) -> Fact:
    return r.choice(_FACTS)(r)


def long_fact(r: Rng) -> Turn:
    ask, _, answer = fact(r)
    return ask, answer


def fact_turn(*kinds: Callable[[Rng], Fact]) -> Skill:
    """The skill of answering such facts, at length or as briefly as the question wants it."""

    def skill(r: Rng) -> list[Turn]:
        kind = r.choice(kinds)
        ask, short, long = kind(r)
        if r.random() >= 0.12:
            return [(sloppy(r, ask, 0.25), long)]
        ask = f"{ask} {r.choice(_ASK['briefly'])}"
        return [(ask, short if kind is arithmetic or " " in short else short + ".")]

    return skill


def too_big(r: Rng) -> list[Turn]:
    a, b = r.randint(100, 99999), r.randint(10, 99999)
    if r.random() < 0.5:
        a, b = b, a
    ask = say(r, _ASK["too_big"]["ask"], a=a, b=b).strip()
    return [(ask, _ASK["too_big"]["answer"])]
