"""Options that several commands share, and the client that they lead to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from rbee.client.requests import find_hive, hive_address
from rbee.client.sync import Client
from rbee.errors import Invalid, Usage
from rbee.wire import codec

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def queen_option(command: F) -> F:
    help_text = "The queen's address, or several with commas; else RBEE_QUEEN_URL, else local."
    return click.option("--queen", metavar="URL", default="", help=help_text)(command)


def hive_options(command: F) -> F:
    """`--hive` with `--queen`, which is asked where a hive is that was named by its id."""
    help_text = "The hive's address, or its id; else RBEE_HIVE_URL, else the local one."
    option = click.option("--hive", metavar="URL|ID", default="", help=help_text)
    return queen_option(option(command))


def hive_id_option(command: F) -> F:
    return click.option("--hive-id", metavar="ID", help="Refused by any other hive.")(command)


def drain_option(command: F) -> F:
    help_text = "Seconds for what runs; else the hive's own."
    return click.option("--drain-s", type=float, metavar="N", help=help_text)(command)


def json_option(command: F) -> F:
    help_text = "Print what the server answers untouched, one JSON a line."
    return click.option("--json", "as_json", is_flag=True, help=help_text)(command)


def client(queen: str, hive: str = "") -> Client:
    """The client for what the options named. A hive's id is looked up at the queen."""
    if hive and "://" not in hive:
        found = Client(queen)
        return Client(queen, find_hive(found.status(), hive))
    return Client(queen, hive_address(hive))


def checked(kind: type[T], **fields: Any) -> T:
    """An operation from options, left-out ones dropped; a value out of bounds is wrong usage."""
    given = {key: value for key, value in fields.items() if value is not None}
    tag = kind.__struct_config__.tag  # type: ignore[attr-defined]
    try:
        made: T = codec.convert({"operation": tag, **given}, kind)
        return made
    except Invalid as exc:
        what = exc.message.partition(" at $")[0]
        name = exc.path.removeprefix("$.").partition("[")[0].replace("_", "-")
        raise Usage(f"{name or 'the command'}: {what[0].lower()}{what[1:]}.") from exc
