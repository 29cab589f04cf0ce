"""From argv to a role or a command.

1. `--version` is answered before anything else is imported; everything imports late.
2. Commands live in `rbee.keeper`, which may not know the roles: running them is injected from here.
3. No role means queen and hive in one process; that hive belongs to that queen.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rbee import __version__

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from rbee.config import HiveConfig, QueenConfig, WorkerConfig
    from rbee.keeper.serve import Serving
    from rbee.wire.server import Served

    C = TypeVar("C", QueenConfig, HiveConfig, WorkerConfig)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code (0 done, 1 failed, 2 usage, 130 interrupted)."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments in (["--version"], ["-V"]):
        sys.stdout.write(f"rbee {__version__}\n")
        return 0
    try:
        from rbee.keeper.cli import run
    except KeyboardInterrupt:
        return 130
    return run(arguments, serve)


def serve(serving: Serving) -> None:
    """Run the role that `serving` names in the foreground, until a signal ends it."""
    from rbee.wire import server

    if serving.role is None:
        server.run(lambda: _pair(serving))
    else:
        server.run(lambda: _alone(serving))


async def _alone(serving: Serving) -> None:
    from rbee.wire import server

    async with _opened(serving, str(serving.role)) as served:
        await server.serve(served)


async def _pair(serving: Serving) -> None:
    from rbee.wire import server

    async with (
        _opened(serving, "queen") as queen,
        _opened(serving, "hive", queen=queen.url) as hive,
    ):
        await server.serve(queen, hive)


def _opened(serving: Serving, role: str, **more: Any) -> AbstractAsyncContextManager[Served]:
    """The role's `opened`; `more` are settings that this process decides."""
    from rbee import config

    if role == "queen":
        from rbee.queen import role as queen

        return queen.opened(_settings(serving, role, config.QueenConfig, more))
    if role == "hive":
        from rbee.hive import role as hive

        return hive.opened(_settings(serving, role, config.HiveConfig, more))
    from rbee.worker import role as worker

    return worker.opened(_settings(serving, role, config.WorkerConfig, more))


def _settings(serving: Serving, role: str, kind: type[C], more: dict[str, Any]) -> C:
    """The role's settings from file, environment and flags; sets logging up as they want it."""
    import logging

    from rbee import config, log

    found = config.load(kind, serving.file(role), None, {**serving.flags(role), **more})
    log.setup(serving.role or "rbee", found.log_level)
    if found.insecure:
        logging.getLogger(__name__).warning(
            "INSECURE: the %s on %s answers anybody who can reach it", role, found.bind
        )
    return found


if __name__ == "__main__":
    sys.exit(main())
