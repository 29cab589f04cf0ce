"""A real hive whose workers are stubs: `python -m tests.hive.stub_hive hive --port 0 ...`.

The stubs' flags come from the environment, `STUB_FLAGS`. They report to the hive, as workers do.
"""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from pathlib import Path

from rbee import config, log
from rbee.hive.launch import Command, Owner, Wish
from rbee.hive.role import opened
from rbee.hive.supervisor import Build
from rbee.wire import server

STUB = str(Path(__file__).with_name("stub_worker.py"))


def stub(*flags: str) -> Command:
    """How a stub is called."""
    return Command([sys.executable, STUB, *flags], dict(os.environ))


def _make(settings: config.HiveConfig, owner: Owner) -> Build:
    def build(wish: Wish) -> Command:
        who = ["--id", wish.worker_id, "--hive-id", owner.id, "--hive", owner.url]
        return stub(*who, *os.environ.get("STUB_FLAGS", "").split())

    return build


async def _serve(settings: config.HiveConfig) -> None:
    async with opened(settings, _make) as served:
        await server.serve(served)


if __name__ == "__main__":
    flags = {a.removeprefix("--"): b for a, b in list(pairwise(sys.argv[1:]))[::2]}
    loaded = config.load(config.HiveConfig, None, {}, flags)
    log.setup("hive", loaded.log_level)
    server.run(lambda: _serve(loaded))
