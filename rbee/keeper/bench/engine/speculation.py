"""Guessing ahead: the embedded model goes on with a text that repeats itself, with and without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rbee import bee
from rbee.keeper.bench.engine import asking
from rbee.keeper.bench.engine.plan import settings
from rbee.keeper.bench.engine.streams import rate, together
from rbee.keeper.bench.table import Row, row
from rbee.keeper.throwaway import PYTHON, running

AHEAD = 8
"""Tokens guessed at most in a step."""
TEXT = "The queen asks the hive, the hive starts a worker, the worker answers the queen. " * 8


def measure(env: Mapping[str, str], runs: int, tokens: int, threads: int) -> Iterator[Row]:
    """Tokens a second, taking turns, and how often both said the same."""
    command = [*PYTHON, "serve", "--role", "worker"]
    off, on = ({**env, **settings(bee.path(), asking.MODEL, threads, n)} for n in (0, AHEAD))
    with running(command, off) as without, running(command, on) as guessing:
        urls = {"off": without.ready(), "on": guessing.ready()}
        for url in urls.values():
            _ask(url, tokens)
        told = [{how: _ask(url, tokens) for how, url in urls.items()} for _ in range(runs)]
    rates = {how: [answers[how][0] for answers in told] for how in urls}
    for how, values in rates.items():
        yield row(f"bee, repetitive text, guessing {how}", "tok/s", values)
    ratios = [a / b for a, b in zip(rates["on"], rates["off"], strict=True)]
    yield row("bee, repetitive text, guessing on / off", "ratio", ratios)
    same = [float(answers["on"][1] == answers["off"][1]) for answers in told]
    yield row("bee, repetitive text, the same answer", "part", same, "1")


def _ask(url: str, tokens: int) -> tuple[float, list[int]]:
    """Tokens a second, and the answer's ids."""
    answers = together(url, asking.PATH, [asking.body(TEXT, tokens)])
    return rate(answers), answers[0].ids()
