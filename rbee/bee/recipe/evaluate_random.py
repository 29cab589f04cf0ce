"""A larger examination: random questions per skill, exact match; sums only with held-out pairs.

The wording is that of the training templates, the contents (words, names, numbers) are new. Then
follow the questions of data/fresh.toml.
"""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click

from rbee.bee.recipe import facts, letters, structured, talk
from rbee.bee.recipe.examinee import Examinee
from rbee.bee.recipe.memory import memory
from rbee.bee.recipe.render import chat, render
from rbee.bee.recipe.shapes import Fact, Message, Rng, Skill
from rbee.bee.recipe.shipped import GGUF
from rbee.bee.recipe.systems import with_system
from rbee.bee.recipe.tables import load
from rbee.bee.recipe.tools import with_tools

FILE = click.Path(path_type=Path)
IN_JSON = ("JSON", "tool call")
"""Skills whose answers are also counted when they are merely valid JSON."""
MAX_TOKENS = 200


class Task(NamedTuple):
    messages: list[Message]
    want: str
    tools: list[Message]


Maker = Callable[[Rng], Task]


def last_answer(messages: list[Message]) -> Task:
    return Task(messages[:-1], messages[-1]["content"], [])


def sums(op: str, top: int = 99) -> Maker:
    def make(r: Rng) -> Task:
        while True:
            a, b = r.randint(0, top), r.randint(0, top)
            if facts.held_out(a, b) and (op != "minus" or a >= b):
                break
        result = {"plus": a + b, "minus": a - b, "times": a * b}[op]
        return last_answer(chat([(f"What is {a} {op} {b}?", f"{a} {op} {b} is {result}.")]))

    return make


def turns(skill: Skill) -> Maker:
    return lambda r: last_answer(chat(skill(r)))


def in_full(kind: Callable[[Rng], Fact]) -> Maker:
    """A fact asked plainly, answered at length."""

    def make(r: Rng) -> Task:
        ask, _, long = kind(r)
        return last_answer(chat([(ask, long)]))

    return make


def system_case(r: Rng) -> Task:
    system, said = with_system(r)
    return last_answer(chat(said, system))


def _is_call(messages: list[Message], i: int) -> bool:
    return bool(messages[i].get("tool_calls"))


def _is_answer(messages: list[Message], i: int) -> bool:
    return not _is_call(messages, i) and messages[i - 1]["role"] == "tool"


def tool_case(wanted: Callable[[list[Message], int], bool]) -> Maker:
    """A conversation with functions, up to the first message of Bee's that is wanted."""

    def make(r: Rng) -> Task:
        while True:
            tools, messages = with_tools(r)
            said = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
            stop = next((i for i in said if wanted(messages, i)), None)
            if stop is not None:
                break
        want = render(messages[stop : stop + 1])[1][0].removesuffix("<|im_end|>")
        return Task([_as_openai(message) for message in messages[:stop]], want, tools)

    return make


def _as_openai(message: Message) -> Message:
    if not message.get("tool_calls"):
        return message
    calls = [{"id": "1", "type": "function", "function": call} for call in message["tool_calls"]]
    return {**message, "tool_calls": calls}


SKILLS: dict[str, Maker] = {
    "addition (held-out pairs)": sums("plus"),
    "subtraction (held-out pairs)": sums("minus"),
    "multiplication (held-out pairs)": sums("times", top=12),
    "comparison": in_full(facts.compare),
    "odd or even": in_full(facts.parity),
    "counting": turns(letters.counting),
    "lists": turns(letters.listing),
    "copying": turns(letters.repeat),
    "spelling": turns(letters.spell),
    "reversing": turns(letters.reverse),
    "letter case": turns(letters.letter_case),
    "capitals": turns(facts.fact_turn(facts.capital)),
    "other facts": turns(facts.fact_turn(facts.calendar, facts.opposite)),
    "rbee help": turns(talk.from_table(talk.RBEE_HELP)),
    "small talk": turns(talk.from_table(talk.SMALL_TALK)),
    "unknown": turns(talk.unknown),
    "unknown capital": turns(talk.unknown_capital),
    "JSON": turns(structured.json_object),
    "memory": turns(memory),
    "system prompt": system_case,
    "tool call": tool_case(_is_call),
    "tool answer": tool_case(_is_answer),
}


def is_json(text: str) -> bool:
    try:
        json.loads(re.sub(r"</?tool_call>", "", text))
    except ValueError:
        return False
    return True


def ask_skill(examinee: Examinee, skill: str, n: int, seed: int) -> str:
    """The row of one skill in the table."""
    r = random.Random(f"{seed} {skill}")
    right = valid = 0
    for _ in range(n):
        task = SKILLS[skill](r)
        answer = examinee.answer(task.messages, task.tools, MAX_TOKENS)
        right += answer == task.want
        valid += skill in IN_JSON and is_json(answer)
    note = f" ({valid} are valid JSON)" if skill in IN_JSON else ""
    return f"| {skill} | {right}{note} | {n} |"


def ask_fresh(examinee: Examinee, skill: str, cases: list[tuple[str, str]]) -> str:
    right = 0
    for ask, want in cases:
        answer = examinee.answer([{"role": "user", "content": ask}], [], MAX_TOKENS)
        if re.search(want, answer):
            right += 1
        else:
            click.echo(f"  MISS {ask!r} -> {answer!r}", err=True)
    return f"| fresh wording: {skill} | {right} | {len(cases)} |"


@click.command(help=__doc__)
@click.option("--gguf", type=FILE, default=GGUF, help="By default the shipped one.")
@click.option("--n", default=50, show_default=True, help="Questions per skill.")
@click.option("--seed", default=4242, show_default=True)
def main(gguf: Path, n: int, seed: int) -> None:
    examinee = Examinee(gguf, threads=2)
    click.echo("| skill | right | of |\n|---|---|---|")
    for skill in SKILLS:
        click.echo(ask_skill(examinee, skill, n, seed))
    for skill, cases in load("fresh").items():
        click.echo(ask_fresh(examinee, skill, cases))


if __name__ == "__main__":
    main()
