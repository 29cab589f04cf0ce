"""`rbee bench`: what rbee costs, measured on the machine at hand.

Each benchmark makes its own throw-away fleet (own home, free ports, loopback only) and ends it;
numbers that are compared are measured in one run, taking turns. `start` and `relay` use the
embedded model, `batch` makes one with random weights.
"""

from __future__ import annotations

import click


@click.group()
def bench() -> None:
    """Measure rbee on this machine."""


@bench.command()
@click.option("--runs", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def start(runs: int, as_json: bool) -> None:
    """From a command line to its first token, cold and warm."""
    from rbee.keeper.bench import starting, table

    table.show("start", starting.measure(runs), as_json)


@bench.command()
@click.option("--requests", default=200, show_default=True, type=click.IntRange(10, 10_000))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def relay(requests: int, as_json: bool) -> None:
    """What the queen adds to the first token, against the worker asked directly."""
    from rbee.keeper.bench import relaying, table

    table.show("relay", relaying.measure(requests), as_json)


@bench.command()
@click.option("--runs", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option("--tokens", default=64, show_default=True, type=click.IntRange(8, 1_000))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def batch(runs: int, tokens: int, as_json: bool) -> None:
    """Tokens a second of 1, 2, 4 and 8 parallel streams on one worker."""
    from rbee.keeper.bench import batching, table

    table.show("batch", batching.measure(runs, tokens), as_json)
