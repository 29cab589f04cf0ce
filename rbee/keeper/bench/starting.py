"""From a command line to its first token: what a person waits for."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping

from rbee.errors import RbeeError
from rbee.keeper.bench.table import Row, row
from rbee.keeper.throwaway import PYTHON, home

LIMIT_S = 60.0
PROMPT = "Hello, who are you?"


def measure(runs: int) -> Iterator[Row]:
    """`--version`; `infer` from nothing running; `infer` with the stack warm. Seconds."""
    with home() as env:
        versions = [_first_byte(["--version"], env) for _ in range(runs + 1)][1:]
    yield row("rbee --version", "s", versions, "<= 0.15")
    cold, warm = [], []
    for _ in range(runs):
        with home() as env:
            try:
                cold.append(_first_byte(["infer", PROMPT], env))
                warm.append(_first_byte(["infer", PROMPT], env))
            finally:
                subprocess.run([*PYTHON, "down"], env=env, capture_output=True, timeout=LIMIT_S)
    yield row("infer, first token, nothing running", "s", cold, "<= 2.5")
    yield row("infer, first token, stack warm", "s", warm, "<= 0.35")


def _first_byte(arguments: list[str], env: Mapping[str, str]) -> float:
    """Seconds until the command writes its first byte to stdout; it then runs to its end."""
    began = time.perf_counter()
    with subprocess.Popen(
        [*PYTHON, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(env),
    ) as child:
        assert child.stdout is not None
        first = child.stdout.read(1)
        took = time.perf_counter() - began
        _, errors = child.communicate(timeout=LIMIT_S)
    if not first or child.returncode:
        raise RbeeError(f"rbee {arguments[0]} failed: {errors.decode('utf-8', 'replace')[-500:]}")
    return took
