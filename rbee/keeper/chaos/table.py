"""The rows as one table for people, or one JSON object a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict

from rbee import __version__
from rbee.keeper.chaos.outcome import Row

HEADINGS = (
    "scenario",
    "events",
    "requests",
    "failed",
    "lost",
    "repeated",
    "differ",
    "p99 pause",
    "recovery",
    "p99",
    "check",
)

WIDTH = 104
"""What the table needs; a narrower terminal wraps it, and no figure is cut off."""


def show(rows: Iterable[Row], seed: int, as_json: bool) -> bool:
    """Print the rows, JSON as they come; True when all have passed."""
    seen: list[Row] = []
    for found in rows:
        seen.append(found)
        if as_json:
            line = {"chaos": found.scenario, "rbee": __version__, "seed": seed, **asdict(found)}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
    if not as_json:
        _print(seen, seed)
    return all(found.passed for found in seen)


def _print(rows: list[Row], seed: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"rbee chaos, seed {seed}", title_justify="left", padding=(0, 0))
    for heading in HEADINGS:
        words = heading in ("scenario", "check")
        table.add_column(heading, justify="left" if words else "right", no_wrap=True)
    for found in rows:
        table.add_row(*(Text(cell) for cell in cells(found)))
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table)
    for found in rows:
        for why in found.why:
            console.print(Text(f"{found.scenario}: {why}"))


def cells(found: Row) -> tuple[str, ...]:
    """A row as people read it."""
    times = (found.pause_p99_ms, found.recovery_ms, found.recovery_p99_ms)
    return (
        found.scenario,
        *map(str, (found.events, found.requests, found.failed)),
        *map(str, (found.lost, found.repeated, found.differing)),
        *map(milliseconds, times),
        "passed" if found.passed else "FAILED",
    )


def milliseconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f} ms" if value < 10_000 else f"{value / 1_000:.1f} s"
