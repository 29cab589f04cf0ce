"""What `infer` and `chat` ask alike: the options of an answer, and the fields that they become."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from rbee.errors import NotJson, Usage
from rbee.wire import codec

F = TypeVar("F", bound=Callable[..., Any])
_OPTIONS = (
    click.option("-m", "--model", default="bee", show_default=True, help="Which model answers."),
    click.option("--system", metavar="TEXT", help="What the model is told first."),
    click.option("--max-tokens", type=int, metavar="N", help="New tokens at most, an answer."),
    click.option("--temperature", type=float, metavar="X", help="0 always takes the likeliest."),
    click.option("--top-p", type=float, metavar="X"),
    click.option("--top-k", type=int, metavar="N"),
    click.option("--min-p", type=float, metavar="X"),
    click.option("--seed", type=int, metavar="N"),
    click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; repeatable."),
    click.option("--json-schema", type=click.Path(path_type=Path), metavar="FILE"),
    click.option("--lora", metavar="NAME", help="An adapter that the worker was started with."),
    click.option("--worker-id", metavar="ID", help="This worker only."),
    click.option("--hive-id", metavar="ID", help="Workers of this hive only."),
    click.option("--device", metavar="NAME", help="cpu, cuda, metal, or one such as cuda:1."),
)


def answer_options(command: F) -> F:
    """All of them, in the order of `--help`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def fields(options: dict[str, Any]) -> dict[str, Any]:
    """The fields of an `infer` that the options mean, but for the text itself."""
    schema: Path | None = options["json_schema"]
    return {
        **options,
        "stop": list(options["stop"]) or None,
        "json_schema": _schema(schema) if schema else None,
    }


def messages(system: str | None, *turns: dict[str, str]) -> list[dict[str, str]]:
    """A conversation, with what the model is told first."""
    first = [{"role": "system", "content": system}] if system else []
    return [*first, *turns]


def _schema(file: Path) -> Any:
    try:
        return codec.decode(file.read_bytes(), dict[str, Any])
    except OSError as exc:
        raise Usage(f"The schema {file} cannot be read: {exc.strerror}.") from exc
    except NotJson as exc:
        raise Usage(f"The schema {file} is not JSON.", hint=exc.message) from exc
