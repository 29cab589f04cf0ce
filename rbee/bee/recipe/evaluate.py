"""Asks Bee the questions of questions.py and prints the accuracy per skill.

--overlap N asks nothing: it replays the first N training samples and counts the questions that
occur there word for word.
"""

import re
import time
from itertools import islice
from pathlib import Path

import click

from rbee.bee.recipe.corpus import stream, text_of
from rbee.bee.recipe.examinee import Examinee
from rbee.bee.recipe.questions import completions, prompts, questions
from rbee.bee.recipe.shipped import GGUF

FILE = click.Path(path_type=Path)
USER_TURN = re.compile(r"<\|im_start\|>user\n(.*?)<\|im_end\|>", re.DOTALL)


class Score:
    """Right answers and all answers, per skill; tells a miss at once."""

    def __init__(self) -> None:
        self._answers: dict[str, list[bool]] = {}

    def add(self, skill: str, shown: str, answer: str, right: bool) -> None:
        self._answers.setdefault(skill, []).append(right)
        if not right:
            click.echo(f"  MISS [{skill}] {shown!r} -> {answer!r}", err=True)

    def rows(self) -> list[tuple[str, int, int]]:
        rows = [(skill, sum(right), len(right)) for skill, right in self._answers.items()]
        return [*rows, ("all", sum(row[1] for row in rows), sum(row[2] for row in rows))]


def examine(examinee: Examinee) -> Score:
    score = Score()
    for question in questions():
        answer = examinee.answer(question.messages, question.tools)
        score.add(question.skill, question.shown, answer, question.accepts(answer))
    for completion in completions():
        answer = examinee.complete(completion.start)
        score.add("completion", completion.start, answer, completion.accepts(answer))
    return score


def overlap(samples: int, seed: int) -> tuple[set[str], int]:
    """The questions found in so many training samples, and how many were looked for."""
    wanted = prompts()
    found: set[str] = set()
    for sample in islice(stream(seed), samples):
        found |= wanted & set(USER_TURN.findall(text_of(sample)))
    return found, len(wanted)


@click.command(help=__doc__)
@click.option("--gguf", type=FILE, default=GGUF, help="By default the shipped one.")
@click.option("--overlap", "replayed", default=0, help="Training samples to search.")
@click.option("--seed", default=7, show_default=True, help="Of the training run, for --overlap.")
@click.option("--threads", default=2, show_default=True)
def main(gguf: Path, replayed: int, seed: int, threads: int) -> None:
    if replayed:
        found, wanted = overlap(replayed, seed)
        click.echo(
            f"{len(found)} of {wanted} prompts occur in {replayed} training samples: "
            f"{sorted(found)}"
        )
        return
    examinee = Examinee(gguf, threads)
    start = time.monotonic()
    score = examine(examinee)
    spent = time.monotonic() - start
    click.echo("| skill | right | of |\n|---|---|---|")
    for skill, right, asked in score.rows():
        click.echo(f"| {skill} | {right} | {asked} |")
    click.echo(f"{examinee.written} tokens in {spent:.1f} s")


if __name__ == "__main__":
    main()
