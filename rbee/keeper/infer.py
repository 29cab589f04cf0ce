"""`rbee infer`: a prompt in, tokens out, as fast as they come.

Nothing running at a local address is no error: the stack is started in the background first. Only
an address given by `--queen` is taken at its word: a slip there shall not start a second queen.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from rbee.client.stream import Events
from rbee.client.sync import Client
from rbee.contracts.operations import Infer
from rbee.errors import NoHive, ServerGone, Usage
from rbee.keeper.asking import answer_options, fields, messages
from rbee.keeper.options import checked, client, json_option, queen_option
from rbee.keeper.show import Waiting, show_any

NOBODY = "check --queen, or start one there with: rbee up"
FIRST_BEAT_S = 5.0
POLL_S = 0.05


@click.command()
@click.argument("prompt")
@click.option("--raw", is_flag=True, help="Complete PROMPT as it stands, without a chat template.")
@answer_options
@queen_option
@json_option
def infer(prompt: str, queen: str, as_json: bool, **options: Any) -> None:
    """Generate text from PROMPT; `-` reads it from stdin."""
    operation = operation_of(sys.stdin.read() if prompt == "-" else prompt, options)
    asker = client(queen)
    with Waiting(sys.stderr) as waiting:
        asker.tell = waiting.note
        with begun(asker, operation, may_start=not queen) as events:
            show_any(events, as_json, waiting)


def operation_of(text: str, options: dict[str, Any]) -> Infer:
    """The request that the command line means; raises `Usage` where it makes no sense."""
    given = fields(options)
    system, raw = given.pop("system"), given.pop("raw")
    if not text:
        raise Usage("The prompt is empty.")
    if raw and system:
        raise Usage("--system belongs to a chat; --raw has none.")
    said = messages(system, {"role": "user", "content": text})
    return checked(Infer, **({"prompt": text} if raw else {"messages": said}), **given)


def begun(asker: Client, operation: Infer, may_start: bool) -> Events:
    """The answer's events; starts what is missing of a local stack first, where it may."""
    try:
        return asker.events(operation)
    except (ServerGone, NoHive) as exc:
        if not may_start:
            exc.hint = NOBODY if isinstance(exc, ServerGone) else exc.hint
            raise
        from rbee.keeper import stack

        if len(asker.queens) > 1 or not stack.ensure(asker.queen, asker.hive):
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
