"""`rbee model ...`: the model files of one hive, asked of that hive."""

from __future__ import annotations

import click

from rbee.contracts.answers import ModelEntries
from rbee.contracts.fleet import ModelEntry
from rbee.contracts.operations import ModelDelete, ModelDownload, ModelGet, ModelList
from rbee.errors import ModelNotFound
from rbee.keeper.group import Group
from rbee.keeper.options import checked, client, hive_id_option, hive_options, json_option
from rbee.keeper.show import show_any, show_lines, size
from rbee.keeper.status import print_raw
from rbee.wire import codec


@click.group(cls=Group)
def model() -> None:
    """Fetch, list and delete the models of a hive."""


@model.command()
@click.argument("name")
@hive_id_option
@hive_options
@json_option
def download(name: str, hive_id: str | None, queen: str, hive: str, as_json: bool) -> None:
    """Fetch NAME: org/repo, org/repo:Q4_K_M or org/repo/file.gguf."""
    operation = checked(ModelDownload, model=name, hive_id=hive_id)
    try:
        with client(queen, hive).events(operation) as events:
            done = show_any(events, as_json)
    except ModelNotFound as exc:
        exc.hint = exc.hint if "/" in name else "a repository looks like org/repo"
        raise
    if not as_json:
        made: ModelEntry = codec.convert(done.result, ModelEntry)
        show_lines(f"{made.id} ({size(made.size)}, sha256 {made.sha256[:12] or 'being read'})")


@model.command("list")
@hive_id_option
@hive_options
@json_option
def list_(hive_id: str | None, queen: str, hive: str, as_json: bool) -> None:
    """List the hive's models."""
    raw = client(queen, hive).ask_raw(checked(ModelList, hive_id=hive_id))
    if as_json:
        print_raw(raw)
        return
    from rbee.keeper import tables

    found: ModelEntries = codec.decode(raw, ModelEntries)
    tables.show(tables.models(found.models))


@model.command()
@click.argument("name")
@hive_id_option
@hive_options
@json_option
def get(name: str, hive_id: str | None, queen: str, hive: str, as_json: bool) -> None:
    """Show one model."""
    raw = client(queen, hive).ask_raw(checked(ModelGet, model=name, hive_id=hive_id))
    if as_json:
        print_raw(raw)
        return
    from rbee.keeper import tables

    found: ModelEntry = codec.decode(raw, ModelEntry)
    pairs = [
        ("id", found.id),
        ("file", found.file),
        ("size", size(found.size)),
        ("sha256", found.sha256),
        ("architecture", found.architecture),
        ("quantisation", found.quantisation),
        ("context", str(found.context)),
        ("loaded by", ", ".join(found.loaded_by)),
        *([("projector", found.projector)] if found.projector else []),
        *([("why not", found.problem)] if found.problem else []),
    ]
    tables.show(tables.facts(pairs))


@model.command()
@click.argument("name")
@hive_id_option
@hive_options
@json_option
def delete(name: str, hive_id: str | None, queen: str, hive: str, as_json: bool) -> None:
    """Delete a model's file; the embedded one stays."""
    raw = client(queen, hive).ask_raw(checked(ModelDelete, model=name, hive_id=hive_id))
    if as_json:
        print_raw(raw)
    else:
        show_lines(f"{name} is deleted")
