"""Training texts that are no chat: plain completions, and many small tasks in a row.

Drills are a cheap way to learn copying, sums and letters.
"""

from rbee.bee.recipe.facts import arithmetic, fact
from rbee.bee.recipe.letters import counting, listing
from rbee.bee.recipe.shapes import Rng, Sample
from rbee.bee.recipe.stories import story
from rbee.bee.recipe.talk import BEE_FACTS, CODE, RBEE_HELP
from rbee.bee.recipe.words import name, word

END = "<|endoftext|>"


def completion(r: Rng) -> Sample:
    return [(_plain_text(r) + END, True)]


def _plain_text(r: Rng) -> str:
    pick = r.random()
    if pick < 0.5:
        return story(r)
    if pick < 0.75:
        return " ".join(fact(r)[2] for _ in range(r.randint(1, 4)))
    if pick < 0.8:
        return " ".join(r.choice(RBEE_HELP + BEE_FACTS)[1] for _ in range(r.randint(1, 3)))
    if pick < 0.93:
        return r.choice(CODE)[1].removeprefix("```python\n").removesuffix("\n```")
    start = r.randint(0, 50)
    return ", ".join(str(n) for n in range(start, start + r.randint(8, 25)))


def drill(r: Rng) -> Sample:
    pick = r.random()
    if pick < 0.15:
        tasks = _copying(r)
    elif pick < 0.6:
        tasks = _sums(r)
    elif pick < 0.7:
        tasks = _counting(r)
    else:
        tasks = _letters(r)
    return [*tasks, (END, False)]


def _copying(r: Rng) -> Sample:
    digits = r.choice([0.0, 0.1, 0.4, 1.0])
    text = " ".join(_token(r, digits) for _ in range(r.randint(2, 18))) + "\n"
    return [(text, False)] + [(text, True)] * r.choice([1, 2, 3])


def _token(r: Rng, digits: float) -> str:
    if r.random() < digits:
        return str(r.randint(0, 10 ** r.randint(1, 5)))
    return word(r) if r.random() < 0.8 else name(r)


def _sums(r: Rng) -> Sample:
    tasks: Sample = []
    for _ in range(r.randint(4, 14)):
        head, _, tail = arithmetic(r)[2].rpartition(" is ")
        tasks += [(f"{head} is", False), (f" {tail}\n", True)]
    return tasks


def _counting(r: Rng) -> Sample:
    tasks: Sample = []
    for _ in range(r.randint(1, 4)):
        ask, answer = counting(r)[0] if r.random() < 0.7 else listing(r)[0]
        tasks += [(f"{ask}\n", False), (f"{answer}\n", True)]
    return tasks


def _letters(r: Rng) -> Sample:
    tasks: Sample = []
    for _ in range(r.randint(3, 10)):
        w = word(r).lower()[:10]
        kind = r.choice(["spell", "reverse", "upper", "lower"])
        if kind == "reverse":
            w = w[:3]
        given = w.upper() if kind == "lower" else w
        results = {"spell": "-".join(w), "reverse": w[::-1], "upper": w.upper(), "lower": w}
        tasks += [(f"{kind} {given}:", False), (f" {results[kind]}\n", True)]
    return tasks
