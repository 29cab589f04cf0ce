"""How events are shown: one function for every command that has any.

1. Text goes to stdout the moment it comes; everything else goes to stderr.
2. On a terminal a wait is one line that changes in place and is gone before the next text; in the
   middle of a line of text it stands below it. Elsewhere only a long wait is told, now and then.
3. What a server says is made harmless before it reaches a terminal.
4. What a model thinks before it answers is no part of the answer: a person at a terminal sees it
   dimmed, on stderr; a pipe does not get it.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self, TextIO

from rbee.client.stream import Events
from rbee.contracts.events import AnyEvent, Done, Failed, Moved, Progress, Prompt, Queued, Token
from rbee.errors import Upstream
from rbee.keeper.text import clean, line
from rbee.wire import codec
from rbee.wire.problems import from_failed

TELL_EVERY_S = 5.0
CLEAR = "\r\x1b[K"
DIM, BRIGHT = "\x1b[2m", "\x1b[22m"
BELOW, BACK = "\x1bD\x1b[A\x1b7\n", "\x1b8"
"""Make sure of a line below, remember the place, go down; and return to it."""


class Waiting:
    """The line that says what is being waited for. `now` is a monotonic clock."""

    def __init__(self, out: TextIO, now: Callable[[], float] = time.monotonic) -> None:
        self.midline = False
        """The cursor stands in a line of text, which must not be wiped out."""
        self._out = out
        self._live = out.isatty()
        self._now = now
        self._told = now()
        self._shown = False
        self._below = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()

    def tell(self, text: str) -> None:
        self._tell(text, "", "")

    def note(self, text: str) -> None:
        """Something that went wrong, and is being mended: dimmed."""
        self._tell(text, DIM, BRIGHT)

    def clear(self) -> None:
        if self._shown:
            self._out.write(CLEAR + (BACK if self._below else ""))
            self._out.flush()
            self._shown = self._below = False

    def _tell(self, text: str, before: str, after: str) -> None:
        text = line(text)
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            if self.midline and not self._shown:
                self._out.write(BELOW)
                self._below = True
            self._out.write(f"{CLEAR}{before}{text[:width]}{after}")
            self._shown = True
        elif self._now() - self._told >= TELL_EVERY_S:
            self._told = self._now()
            self._out.write(f"{text}\n")
        self._out.flush()


class Thoughts:
    """What a model thinks, dimmed; nothing where nobody watches."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._live = out.isatty()
        self._last = ""

    def tell(self, text: str) -> None:
        if self._live:
            self._out.write(f"{DIM}{clean(text)}{BRIGHT}")
            self._out.flush()
            self._last = text

    def end(self) -> None:
        """The answer begins on a line of its own."""
        if self._last:
            self._out.write("\n" if self._last.endswith("\n") else "\n\n")
            self._out.flush()
            self._last = ""


def show(
    events: Iterable[AnyEvent], out: TextIO, err: TextIO, waiting: Waiting | None = None
) -> Done:
    """Show events as they come; returns the last. Raises what a `failed` event says. `waiting` is
    the line on `err`, where others write to it, too."""
    waiting, thoughts = waiting or Waiting(err), Thoughts(err)
    say = clean if out.isatty() else str
    last = ""
    try:
        for event in events:
            match event:
                case Queued() | Progress():
                    waiting.tell(describe(event))
                case Moved():
                    waiting.note(f"worker {event.worker_id} was lost; going on elsewhere")
                case Token(text=text, choice=0, reasoning=reasoning):
                    if text or reasoning:
                        waiting.clear()
                    if reasoning:
                        thoughts.tell(reasoning)
                        waiting.midline = not reasoning.endswith("\n")
                    if text:
                        thoughts.end()
                        out.write(say(text))
                        out.flush()
                        last = text
                        waiting.midline = out.isatty() and not text.endswith("\n")
                case Token() | Prompt():
                    pass  # commands ask for one choice, and for no echo
                case Done():
                    return event
                case Failed():
                    raise from_failed(event)
    finally:
        waiting.clear()
        thoughts.end()
        if last and not last.endswith("\n"):
            out.write("\n")
            out.flush()
    raise Upstream("The answer broke off.")


def show_json(
    events: Events,
    out: TextIO,
    waiting: Waiting | None = None,
    heard: Callable[[AnyEvent], None] = lambda event: None,
) -> Done:
    """Print events untouched, one a line, and tell `heard`. Raises what a `failed` event says."""
    for raw in events.raw():
        if waiting is not None:
            waiting.clear()
        out.write(raw.decode("utf-8", "replace") + "\n")
        out.flush()
        event: AnyEvent = codec.decode(raw, AnyEvent)
        heard(event)
        if isinstance(event, Failed):
            raise from_failed(event)
        if isinstance(event, Done):
            return event
    raise Upstream("The answer broke off.")


def show_any(events: Events, as_json: bool, waiting: Waiting | None = None) -> Done:
    """To this process's own stdout and stderr."""
    if as_json:
        return show_json(events, sys.stdout, waiting)
    return show(events, sys.stdout, sys.stderr, waiting)


def describe(event: Queued | Progress) -> str:
    """A wait in words."""
    match event:
        case Queued(position=position, eta_s=eta):
            soon = f", about {eta:.0f} s" if eta is not None else ""
            return f"waiting, {position} ahead{soon}" if position else f"waiting{soon}"
        case Progress(what=what, done=done, total=total, unit=unit):
            return f"{what} {_amount(done, total, unit)}"


def _amount(done: int, total: int | None, unit: str) -> str:
    if unit == "percent":
        return f"{done}%"
    if unit == "bytes":
        of = f" of {size(total)} ({100 * done // max(total, 1)}%)" if total is not None else ""
        return size(done) + of
    return f"{done}/{total} {unit}" if total is not None else f"{done} {unit}"


def size(count: int) -> str:
    """Bytes for people."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def show_lines(*lines: str) -> None:
    """Facts for people, on stdout."""
    for text in lines:
        sys.stdout.write(f"{line(text)}\n")
