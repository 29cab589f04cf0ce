"""`rbee chat`: a conversation, a line at a time, on a terminal or from a pipe.

1. Ctrl-C stops the answer that is being written; what was said of it stays in the history.
2. Ctrl-D, /exit or Ctrl-C twice at the prompt leaves; /reset forgets; a question that failed is
   not remembered.
3. A model that nobody has is told before the first question, where its name could mean no
   repository and there is a fleet to ask.
4. From a pipe every line is a question, and the exit code says whether all were answered.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import click

from rbee import naming
from rbee.client.requests import Collected
from rbee.client.stream import Events
from rbee.client.sync import Client
from rbee.contracts.events import AnyEvent
from rbee.contracts.operations import Infer
from rbee.errors import RbeeError, ServerGone, Usage
from rbee.keeper.asking import answer_options, fields, messages
from rbee.keeper.cli import report
from rbee.keeper.infer import begun
from rbee.keeper.options import checked, client, json_option, queen_option
from rbee.keeper.show import Waiting, show, show_json

HELP = "/exit or Ctrl-D leaves, /reset forgets the conversation, Ctrl-C stops an answer"


@dataclass
class Conversation:
    """What was said so far, and how answers are asked for."""

    options: dict[str, Any]
    system: str | None = None
    turns: list[dict[str, str]] = field(default_factory=list)

    def ask(self, text: str) -> Infer:
        """The request for an answer to `text`."""
        said = messages(self.system, *self.turns, {"role": "user", "content": text})
        return checked(Infer, messages=said, **self.options)

    def remember(self, text: str, answer: str) -> None:
        self.turns += [
            {"role": "user", "content": text},
            {"role": "assistant", "content": answer},
        ]

    def reset(self) -> None:
        self.turns.clear()


@click.command()
@answer_options
@queen_option
@json_option
def chat(queen: str, as_json: bool, system: str | None, **options: Any) -> None:
    """Talk with a model."""
    asker = client(queen)
    conversation = Conversation(fields(options), system)
    _must_be_known(asker, options["model"])
    worst = 0
    for text in _lines():
        if text == "/exit":
            break
        if text == "/reset":
            conversation.reset()
            _note("forgotten")
        elif text.startswith("/"):
            _note(HELP)
        elif text:
            worst = max(worst, _turn(asker, conversation, text, as_json, not queen))
    if worst and not sys.stdin.isatty():
        raise click.exceptions.Exit(worst)


def _must_be_known(asker: Client, model: str) -> None:
    """Raises `ModelNotFound` when no hive has `model`. Without a hive, one may yet be started."""
    if model == "bee" or "/" in model:
        return
    naming.parse(model)
    try:
        fleet = asker.status()
    except ServerGone:
        return
    known = [entry.id for entry in fleet.models]
    if fleet.hives and not {model, f"{model}.gguf"} & set(known):
        raise naming.unknown(model, known)


def _turn(
    asker: Client, conversation: Conversation, text: str, as_json: bool, may_start: bool
) -> int:
    """Ask and show one answer; returns the exit code that it deserves."""
    heard = Collected()
    try:
        with Waiting(sys.stderr) as waiting:
            asker.tell = waiting.note
            with begun(asker, conversation.ask(text), may_start) as events:
                if as_json:
                    show_json(events, sys.stdout, waiting, heard.feed)
                else:
                    show(_heard(events, heard), sys.stdout, sys.stderr, waiting)
    except KeyboardInterrupt:
        if not sys.stdin.isatty():
            raise
        _note("stopped")
    except Usage:
        raise
    except RbeeError as exc:
        return report(exc)
    if heard.text:
        conversation.remember(text, heard.text)
    return 0


def _heard(events: Events, heard: Collected) -> Iterator[AnyEvent]:
    for event in events:
        heard.feed(event)
        yield event


def _lines() -> Iterator[str]:
    """What the person types, or the pipe says, until its end."""
    if not sys.stdin.isatty():
        yield from (line.strip() for line in sys.stdin)
        return
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives input() its history and its arrow keys
    _note(HELP)
    interrupted = False
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            sys.stdout.write("\n")
            return
        except KeyboardInterrupt:
            sys.stdout.write("\n")
            if interrupted:
                raise
            interrupted = True
            _note("Ctrl-C again leaves")
        else:
            interrupted = False
            yield text


def _note(text: str) -> None:
    if sys.stdin.isatty():
        sys.stderr.write(f"({text})\n")
