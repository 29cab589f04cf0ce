"""`rbee worker ...`: the processes of one hive, asked of that hive."""

from __future__ import annotations

import sys
from typing import Any

import click

from rbee.contracts.answers import Spawned, WorkerProcesses
from rbee.contracts.fleet import WorkerProcess
from rbee.contracts.operations import (
    WorkerProcessDelete,
    WorkerProcessGet,
    WorkerProcessList,
    WorkerSpawn,
)
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
from rbee.keeper.show import show_any, show_lines
from rbee.keeper.status import print_raw
from rbee.keeper.text import clean
from rbee.wire import codec


@click.group(cls=Group)
def worker() -> None:
    """Start, list and stop the workers of a hive."""


@worker.command()
@click.argument("model")
@click.option("--worker", metavar="KIND", help="cpu, cuda or metal; else the hive's best.")
@click.option("--device", metavar="NAME", help="One device, such as cuda:1.")
@click.option("--ctx", "--context", "context", type=int, metavar="N", help="Tokens a slot.")
@click.option("--slots", type=int, metavar="N", help="Requests answered at a time.")
@click.option("--gpu-layers", type=int, metavar="N", help="-1 puts all on the accelerator.")
@click.option("--lora", multiple=True, metavar="NAME=REF", help="An adapter; repeatable.")
@click.option("--projector", metavar="REF", help="What lets it see; else the model's own.")
@hive_id_option
@hive_options
@json_option
def spawn(
    model: str, queen: str, hive: str, as_json: bool, lora: tuple[str, ...], **options: Any
) -> None:
    """Start a worker for MODEL and wait until it serves.

    Adapters and projectors are files of the hive, named like models.
    """
    operation = checked(WorkerSpawn, model=model, lora=_adapters(lora), **options)
    with client(queen, hive).events(operation) as events:
        done = show_any(events, as_json)
    if not as_json:
        made: Spawned = codec.convert(done.result, Spawned)
        where = f"{made.worker_id} serves {made.model} at {made.url}"
        show_lines(f"{where} ({made.device}, pid {made.pid})")


@worker.command("list")
@hive_id_option
@hive_options
@json_option
def list_(hive_id: str | None, queen: str, hive: str, as_json: bool) -> None:
    """List the hive's workers, those that failed too."""
    raw = client(queen, hive).ask_raw(checked(WorkerProcessList, hive_id=hive_id))
    if as_json:
        print_raw(raw)
        return
    from rbee.keeper import tables

    found: WorkerProcesses = codec.decode(raw, WorkerProcesses)
    tables.show(tables.processes(found.workers))


@worker.command()
@click.argument("worker_id", required=False)
@click.option("--pid", type=int, help="Named by its process instead.")
@hive_id_option
@hive_options
@json_option
def get(queen: str, hive: str, as_json: bool, **named: Any) -> None:
    """Show one worker with the end of its log."""
    raw = client(queen, hive).ask_raw(checked(WorkerProcessGet, **_named(named)))
    if as_json:
        print_raw(raw)
        return
    from rbee.keeper import tables

    found: WorkerProcess = codec.decode(raw, WorkerProcess)
    tables.show(tables.processes([found], whole=True))
    for text in found.log_tail:
        sys.stdout.write(f"  {clean(text)}\n")


@worker.command()
@click.argument("worker_id", required=False)
@click.option("--pid", type=int, help="Named by its process instead.")
@click.option("--drain", is_flag=True, help="Let it finish what it has; no new requests.")
@drain_option
@hive_id_option
@hive_options
@json_option
def delete(queen: str, hive: str, as_json: bool, **named: Any) -> None:
    """Stop a worker and forget it."""
    if named["drain_s"] is not None and not named["drain"]:
        raise Usage("--drain-s belongs to --drain.")
    raw = client(queen, hive).ask_raw(checked(WorkerProcessDelete, **_named(named)))
    if as_json:
        print_raw(raw)
    else:
        show_lines(f"{named['worker_id'] or named['pid']} is stopped")


def _adapters(given: tuple[str, ...]) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for text in given:
        name, equals, reference = text.partition("=")
        if not equals or not reference:
            raise Usage(f"--lora {text!r} is not NAME=REF.", hint="--lora style=org/repo/file.gguf")
        if name in found:
            raise Usage(f"--lora names two adapters {name!r}.")
        found[name] = reference
    return found or None


def _named(named: dict[str, Any]) -> dict[str, Any]:
    if (named["worker_id"] is None) == (named["pid"] is None):
        raise Usage("Name one worker, by its id or by --pid.")
    return named
