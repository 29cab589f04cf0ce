"""`rbee top`: the status, again and again, until Ctrl-C."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import click

from rbee.contracts.fleet import FleetStatus
from rbee.contracts.operations import Status
from rbee.errors import RbeeError
from rbee.keeper.options import client, json_option, queen_option
from rbee.keeper.status import print_raw
from rbee.keeper.text import line
from rbee.wire import codec


@click.command()
@click.option("--interval", type=click.FloatRange(0.1, 3_600), default=1.0, help="Seconds.")
@click.option("--count", type=click.IntRange(1), help="End after so many; else on Ctrl-C.")
@queen_option
@json_option
def top(interval: float, count: int | None, queen: str, as_json: bool) -> None:
    """Show the fleet live."""
    ticks = _ticks(interval, count)
    try:
        if as_json:
            for _ in ticks:
                print_raw(client(queen).ask_raw(Status()))
        else:
            _tables(queen, ticks)
    except KeyboardInterrupt:
        return  # how one leaves


def _ticks(interval: float, count: int | None) -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1
        if number == count:
            return
        time.sleep(interval)


def _tables(queen: str, ticks: Iterator[int]) -> None:
    from rich.live import Live
    from rich.text import Text

    from rbee.keeper import tables

    if not sys.stdout.isatty():
        for _ in ticks:
            tables.show(tables.fleet(_status(queen)))
        return
    with Live(Text("asking the queen"), console=tables.console(), screen=True) as live:
        for _ in ticks:
            try:
                live.update(tables.fleet(_status(queen)), refresh=True)
            except RbeeError as exc:  # a queen that restarts comes back
                live.update(Text(line(exc.message), style="red"), refresh=True)


def _status(queen: str) -> FleetStatus:
    found: FleetStatus = codec.decode(client(queen).ask_raw(Status()), FleetStatus)
    return found
