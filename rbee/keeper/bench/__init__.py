"""`rbee bench`: what rbee costs, measured on the machine at hand.

Each benchmark makes its own throw-away fleet (own home, free ports, loopback only) and ends it;
numbers that are compared are measured in one run, taking turns. `start` and `relay` use the
embedded model, `batch` and `engine` make some with random weights.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import click

WIDTHS = ("1", "2", "4", "8", "16")


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


def _widths(_: click.Context, option: click.Parameter, text: str) -> tuple[int, ...]:
    """`1,4,16`, each once, in order."""
    given = text.split(",")
    if not set(given) <= {str(width) for width in range(1, int(WIDTHS[-1]) + 1)}:
        raise click.BadParameter(f"numbers from 1 to {WIDTHS[-1]}, separated by commas")
    return tuple(sorted({int(width) for width in given}))


@bench.command("engine")
@click.option(
    "--model",
    default="small",
    show_default=True,
    type=click.Choice(["small", "large", "both", "tiny"]),
    help="Made with random weights; tiny only shows that everything runs.",
)
@click.option("--widths", default=",".join(WIDTHS), show_default=True, callback=_widths)
@click.option("--runs", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option("--tokens", default=64, show_default=True, type=click.IntRange(8, 1_000))
@click.option("--threads", default=0, type=click.IntRange(0, 1_024), help="0: physical cores.")
@click.option(
    "--requests",
    default=500,
    show_default=True,
    type=click.IntRange(1, 100_000),
    help="Short ones, between two looks at the worker's memory.",
)
@click.option(
    "--peer",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A llama-server to compare with; left out: the one on PATH, if any.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def engine_command(
    model: str,
    widths: tuple[int, ...],
    runs: int,
    tokens: int,
    threads: int,
    requests: int,
    peer: Path | None,
    as_json: bool,
) -> None:
    """The worker beside llama.cpp's bare loop: decoding, prompts, prefixes, memory, guessing."""
    from rbee.keeper.bench import engine, table
    from rbee.keeper.bench.engine.plan import Plan

    found = shutil.which("llama-server")
    plan = Plan(
        widths,
        runs,
        tokens,
        threads,
        requests,
        peer or (Path(found) if found is not None else None),
    )
    names = ("small", "large") if model == "both" else (model,)
    table.show("engine", engine.measure(names, plan), as_json)
