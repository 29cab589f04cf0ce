"""The table of commands, and the one place where an error becomes a line and an exit code.

1. A command's module is imported when the command is asked for, never before.
2. Whatever goes wrong becomes one clear line on stderr, a `hint:` where there is one, and a code:
   0 done, 1 failed, 2 wrong usage, 130 interrupted. A reader that closed the pipe is no error.
3. A terminal that cannot show a character gets another for it; text that comes in and is no UTF-8
   is wrong usage. Folders that cannot be written and full disks are told as the system does.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper

import click

from rbee import __version__
from rbee.errors import RbeeError, Usage
from rbee.keeper.group import Group
from rbee.keeper.serve import Serving
from rbee.keeper.text import clean

INTERRUPTED = 130
COMMANDS = {
    "serve": "rbee.keeper.serve:serve",
    "up": "rbee.keeper.up:up",
    "down": "rbee.keeper.up:down",
    "infer": "rbee.keeper.infer:infer",
    "chat": "rbee.keeper.chat:chat",
    "status": "rbee.keeper.status:status",
    "top": "rbee.keeper.top:top",
    "worker": "rbee.keeper.worker:worker",
    "hive": "rbee.keeper.hive:hive",
    "model": "rbee.keeper.model:model",
    "embed": "rbee.keeper.embed:embed",
    "gui": "rbee.keeper.gui:gui",
    "doctor": "rbee.keeper.doctor:doctor",
    "bench": "rbee.keeper.bench:bench",
    "chaos": "rbee.keeper.chaos:chaos",
}
"""Command to where it is defined, in the order of `rbee --help`."""


class Commands(Group):
    """A group whose commands are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in COMMANDS if self.get_command(ctx, name) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        where = COMMANDS.get(cmd_name)
        if where is None:
            return None
        module, _, name = where.partition(":")
        try:
            found: click.Command = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as exc:
            if exc.name != module:
                raise
            return None
        return found


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="rbee %(version)s")
def rbee() -> None:
    """Every machine you own, behind one address, as one private AI cloud."""


def run(arguments: Sequence[str], serve: Callable[[Serving], None]) -> int:
    """Run one command; `serve` runs a role (the keeper cannot). Returns the exit code."""
    _show_what_can_be_shown()
    try:
        with rbee.make_context("rbee", list(arguments), obj=serve) as context:
            rbee.invoke(context)
        sys.stdout.flush()
        return 0
    except click.exceptions.Exit as exc:
        return int(exc.exit_code)
    except click.ClickException as exc:
        exc.show(sys.stderr)
        return int(exc.exit_code)
    except BrokenPipeError:
        return _closed_pipe()
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except RbeeError as exc:
        return report(exc)
    except UnicodeError:
        return report(Usage("The command line or its input is not UTF-8 text."))
    except OSError as exc:
        return report(_system_said(exc))
    except BaseExceptionGroup as group:
        return _report_group(group)


def _show_what_can_be_shown() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def _system_said(exc: OSError) -> RbeeError:
    """What the operating system refused, naming the file where there is one."""
    what = f"{exc.filename}: " if exc.filename else ""
    return RbeeError(
        f"{what}{exc.strerror or exc}.",
        hint="rbee doctor tells which folders rbee uses, and whether it can write there",
    )


def report(exc: RbeeError) -> int:
    """Say what went wrong, and what to do about it; returns the exit code."""
    say = clean if sys.stderr.isatty() else str
    sys.stderr.write(f"rbee: {say(exc.message)}\n")
    if exc.hint:
        sys.stderr.write(f"hint: {say(exc.hint)}\n")
    return 2 if isinstance(exc, Usage) else 1


def _report_group(group: BaseExceptionGroup[BaseException]) -> int:
    """Task groups wrap what ends them; our own errors and an interruption are told as ever."""
    if group.subgroup(KeyboardInterrupt) is not None:
        return INTERRUPTED
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    if isinstance(inner, RbeeError):
        return report(inner)
    raise group


def _closed_pipe() -> int:
    """Python would complain again when it flushes at exit; nobody is there to read either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
