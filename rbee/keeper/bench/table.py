"""Measured values as rows: median and spread, for people or as JSON."""

from __future__ import annotations

import json
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from rbee import __version__


@dataclass(frozen=True)
class Row:
    """One line of a table. `aim` is what the project promises, empty where it promises nothing."""

    what: str
    unit: str
    median: float
    low: float
    high: float
    runs: int
    aim: str = ""


def row(what: str, unit: str, values: Sequence[float], aim: str = "") -> Row:
    """Median, and the 10th to 90th percentile of what was measured (all of it below ten values)."""
    ordered = sorted(values)
    cut = len(ordered) // 10
    return Row(
        what,
        unit,
        statistics.median(ordered),
        ordered[cut],
        ordered[-1 - cut],
        len(ordered),
        aim,
    )


def show(name: str, rows: Iterable[Row], as_json: bool) -> None:
    """Print the rows as they are measured (JSON), or as one table."""
    if as_json:
        for found in rows:
            line = {"bench": name, "rbee": __version__, **asdict(found)}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
        return
    from rich.console import Console
    from rich.table import Table

    where = f"{platform.processor() or platform.machine()}, {platform.system()}"
    table = Table(title=f"rbee bench {name} ({where})", title_justify="left")
    for heading in ("what", "median", "spread (10-90 %)", "unit", "runs", "aim"):
        table.add_column(heading, justify="left" if heading in ("what", "aim") else "right")
    for found in rows:
        spread = f"{found.low:.4g} - {found.high:.4g}"
        cells = (found.what, f"{found.median:.4g}", spread, found.unit, str(found.runs), found.aim)
        table.add_row(*cells)
    Console().print(table)
