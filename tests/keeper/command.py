"""The command line as a person calls it: a process of its own, with its own home and addresses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.client.stub import free_ports

LIMIT_S = 90.0


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Rbee:
    """`rbee` with one home, one queen and one hive."""

    home: Path
    queen: str
    hive: str

    @property
    def env(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("RBEE_")}
        own = {"RBEE_QUEEN_URL": self.queen, "RBEE_HIVE_URL": self.hive}
        return {**kept, **own, "RBEE_HOME": str(self.home)}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "rbee.main", *arguments]

    def __call__(self, *arguments: str, stdin: str = "") -> Finished:
        done = subprocess.run(
            self.command(*arguments),
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command that is still at work; ended at the latest when the context is left."""
        with subprocess.Popen(
            self.command(*arguments),
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as child:
            try:
                yield child
            finally:
                child.kill()
                child.communicate(timeout=LIMIT_S)


def local(home: Path) -> Rbee:
    """On ports of its own."""
    queen, hive = free_ports(2)
    return Rbee(home, f"http://127.0.0.1:{queen}", f"http://127.0.0.1:{hive}")
