"""`rbee status`: what the queen knows of the fleet."""

from __future__ import annotations

import sys

import click

from rbee.contracts.fleet import FleetStatus
from rbee.contracts.operations import Status
from rbee.keeper.options import client, json_option, queen_option
from rbee.wire import codec


@click.command()
@queen_option
@json_option
def status(queen: str, as_json: bool) -> None:
    """Show hives, workers, models and the queue."""
    raw = client(queen).ask_raw(Status())
    if as_json:
        print_raw(raw)
        return
    from rbee.keeper import tables

    tables.show(tables.fleet(codec.decode(raw, FleetStatus)))


def print_raw(raw: bytes) -> None:
    """An answer untouched, on a line of its own."""
    sys.stdout.write(raw.decode("utf-8", "replace").rstrip("\n") + "\n")
    sys.stdout.flush()
