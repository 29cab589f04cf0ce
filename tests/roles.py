"""Starts one role as the program would, with its settings as flags: `python -m tests.roles queen
--port 0 --beat_s 0.2`. For tests that need a real process of one role and nothing around it."""

from __future__ import annotations

import importlib
import sys
from itertools import pairwise
from typing import Any

from rbee import config
from rbee.errors import RbeeError
from rbee.wire import server

KINDS: dict[str, Any] = {
    "queen": config.QueenConfig,
    "hive": config.HiveConfig,
    "worker": config.WorkerConfig,
}


async def _serve(role: str, flags: dict[str, str]) -> None:
    settings: Any = config.load(KINDS[role], None, {}, flags)
    module = importlib.import_module(f"rbee.{role}.role")
    async with module.opened(settings) as served:
        await server.serve(served)


def main() -> int:
    role, *rest = sys.argv[1:]
    flags = {a.removeprefix("--"): b for a, b in list(pairwise(rest))[::2]}
    try:
        server.run(lambda: _serve(role, flags))
    except RbeeError as exc:
        sys.stderr.write(f"error: {exc.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
