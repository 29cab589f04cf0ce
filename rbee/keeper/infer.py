"""`rbee infer`: a prompt in, tokens out, as fast as they come.

Nothing running at a local address is no error: the stack is started in the background first. Only
an address given by `--queen` is taken at its word: a slip there shall not start a second queen.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from rbee.client.stream import Events
from rbee.client.sync import Client
from rbee.contracts.operations import Infer
from rbee.errors import NoHive, NotJson, ServerGone, Usage
from rbee.keeper.options import checked, client, json_option, queen_option
from rbee.keeper.show import show_any
from rbee.wire import codec

NOBODY = "check --queen, or start one there with: rbee up"
FIRST_BEAT_S = 5.0
POLL_S = 0.05


@click.command()
@click.argument("prompt")
@click.option("-m", "--model", default="bee", show_default=True, help="Which model answers.")
@click.option("--system", metavar="TEXT", help="What the model is told first.")
@click.option("--raw", is_flag=True, help="Complete PROMPT as it stands, without a chat template.")
@click.option("--max-tokens", type=int, metavar="N", help="New tokens at most.")
@click.option("--temperature", type=float, metavar="X", help="0 always takes the likeliest.")
@click.option("--top-p", type=float, metavar="X")
@click.option("--top-k", type=int, metavar="N")
@click.option("--min-p", type=float, metavar="X")
@click.option("--seed", type=int, metavar="N")
@click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; repeatable.")
@click.option("--json-schema", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--lora", metavar="NAME", help="An adapter that the worker was started with.")
@click.option("--worker-id", metavar="ID", help="This worker only.")
@click.option("--hive-id", metavar="ID", help="Workers of this hive only.")
@click.option("--device", metavar="NAME", help="cpu, cuda, metal, or one such as cuda:1.")
@queen_option
@json_option
def infer(prompt: str, queen: str, as_json: bool, **options: Any) -> None:
    """Generate text from PROMPT; `-` reads it from stdin."""
    operation = operation_of(sys.stdin.read() if prompt == "-" else prompt, options)
    with begun(client(queen), operation, may_start=not queen) as events:
        show_any(events, as_json)


def operation_of(text: str, options: dict[str, Any]) -> Infer:
    """The request that the command line means; raises `Usage` where it makes no sense."""
    given = dict(options)
    system, raw, schema = given.pop("system"), given.pop("raw"), given.pop("json_schema")
    if not text:
        raise Usage("The prompt is empty.")
    if raw and system:
        raise Usage("--system belongs to a chat; --raw has none.")
    asked = {"prompt": text} if raw else {"messages": messages(system, text)}
    return checked(
        Infer,
        **asked,
        **{key: value for key, value in given.items() if key != "stop"},
        stop=list(given["stop"]) or None,
        json_schema=_schema(schema) if schema else None,
    )


def messages(system: str | None, text: str) -> list[dict[str, str]]:
    first = [{"role": "system", "content": system}] if system else []
    return [*first, {"role": "user", "content": text}]


def begun(asker: Client, operation: Infer, may_start: bool) -> Events:
    """The answer's events; starts what is missing of a local stack first, where it may."""
    try:
        return asker.events(operation)
    except (ServerGone, NoHive) as exc:
        if not may_start:
            exc.hint = NOBODY if isinstance(exc, ServerGone) else exc.hint
            raise
        from rbee.keeper import stack

        if not stack.ensure(asker.queen, asker.hive):
            raise
        return _once_heard(asker, operation)


def _once_heard(asker: Client, operation: Infer) -> Events:
    """A hive that is ready has not been heard by an older queen yet: allow it its first beat."""
    end = time.monotonic() + FIRST_BEAT_S
    while True:
        try:
            return asker.events(operation)
        except NoHive:
            if time.monotonic() > end:
                raise
        time.sleep(POLL_S)


def _schema(file: Path) -> Any:
    try:
        return codec.decode(file.read_bytes(), dict[str, Any])
    except OSError as exc:
        raise Usage(f"The schema {file} cannot be read: {exc.strerror}.") from exc
    except NotJson as exc:
        raise Usage(f"The schema {file} is not JSON.", hint=exc.message) from exc
