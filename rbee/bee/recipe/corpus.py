"""Bee's training data: an endless stream of samples, the same for the same seed.

Every sentence comes from the templates and word lists in data/. This module mixes; the skills
stand in the modules it imports. `python -m rbee.bee.recipe.corpus` shows some samples.
"""

import random
from collections.abc import Iterator
from itertools import islice

import click

from rbee.bee.recipe.drills import completion, drill
from rbee.bee.recipe.memory import memory
from rbee.bee.recipe.render import chat, render
from rbee.bee.recipe.shapes import Rng, Sample, Turn
from rbee.bee.recipe.skills import single
from rbee.bee.recipe.stories import story_turn
from rbee.bee.recipe.systems import generic_system, with_system
from rbee.bee.recipe.tools import with_tools

DRILLS = 0.2
"""The part of the samples that are drills."""


def sample(r: Rng) -> Sample:
    pick = r.random()
    if pick < 0.09:
        tools, messages = with_tools(r)
        return render(messages, tools)
    if pick < 0.19:
        system, turns = with_system(r)
        return render(chat(turns, system))
    if pick < 0.26:
        return render(chat(memory(r), generic_system(r) if r.random() < 0.2 else ""))
    if pick < 0.275:
        return render(chat(story_turn(r)))
    if pick < 0.305:
        return completion(r)
    if pick < 0.305 + DRILLS:
        return drill(r)
    turns = single(r)
    if r.random() < 0.15:
        turns += single(r)
    return render(chat(turns, generic_system(r) if r.random() < 0.15 else ""))


def long_sample(r: Rng, characters: int) -> Sample:
    """One conversation of about that length."""
    turns: list[Turn] = []
    while sum(len(ask) + len(answer) + 40 for ask, answer in turns) < characters:
        if r.random() < 0.15:
            turns += memory(r)
        elif r.random() < 0.08:
            turns += story_turn(r)
        else:
            turns += single(r)
    return render(chat(turns, generic_system(r) if r.random() < 0.3 else ""))


def stream(seed: int) -> Iterator[Sample]:
    r = random.Random(seed)
    while True:
        yield long_sample(r, r.randint(1500, 6000)) if r.random() < 0.006 else sample(r)


def text_of(sample: Sample) -> str:
    return "".join(text for text, _ in sample)


@click.command(help=__doc__)
@click.option("--seed", default=0, show_default=True)
@click.option("--samples", default=40, show_default=True)
def main(seed: int, samples: int) -> None:
    for one in islice(stream(seed), samples):
        click.echo(f"{text_of(one)} \n---")


if __name__ == "__main__":
    main()
