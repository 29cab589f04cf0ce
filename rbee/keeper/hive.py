"""`rbee hive ...`: one hive as a whole, asked of that hive."""

from __future__ import annotations

import click

from rbee.contracts.answers import Drained
from rbee.contracts.fleet import HiveBeat
from rbee.contracts.operations import HiveDrain
from rbee.errors import Usage
from rbee.keeper.group import Group
from rbee.keeper.options import (
    checked,
    client,
    drain_option,
    hive_id_option,
    hive_options,
    json_option,
)
from rbee.keeper.show import show_lines
from rbee.keeper.status import print_raw
from rbee.wire import codec


@click.group(cls=Group)
def hive() -> None:
    """Look at a hive, and empty it."""


@hive.command()
@click.option("--undo", is_flag=True, help="Let it take work again.")
@drain_option
@hive_id_option
@hive_options
@json_option
def drain(
    undo: bool, drain_s: float | None, hive_id: str | None, queen: str, hive: str, as_json: bool
) -> None:
    """Have a hive start no worker any more, and stop those it has when they are done.

    Answers that are not finished in time go on elsewhere. Waits for the last worker's end.
    """
    if undo and drain_s is not None:
        raise Usage("--drain-s has no meaning with --undo.")
    operation = checked(HiveDrain, hive_id=hive_id, drain_s=drain_s, undo=undo)
    raw = client(queen, hive).ask_raw(operation)
    if as_json:
        print_raw(raw)
        return
    done: Drained = codec.decode(raw, Drained)
    if undo:
        show_lines(f"{done.hive_id} takes work again")
    else:
        gone = ", ".join(done.workers)
        show_lines(
            f"{done.hive_id} is drained; {f'stopped: {gone}' if gone else 'it had no worker'}"
        )


@hive.command()
@hive_options
@json_option
def get(queen: str, hive: str, as_json: bool) -> None:
    """Show a hive's own state: devices, memory, workers."""
    raw = client(queen, hive).hive_status_raw()
    if as_json:
        print_raw(raw)
        return
    from rbee.keeper import tables

    tables.show(tables.hive(codec.decode(raw, HiveBeat)))
