"""A child that speaks a worker's lines and misbehaves by flag: slow, deaf, failing or dying.

It runs no model. It ends when its parent does, so that no test can leave it behind.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TICK_S = 0.02


def main() -> int:
    flags = _flags()
    parent = os.getppid()
    if flags.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if flags.grandchild:  # inherits the pipes and outlives this process
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    sys.stderr.write(flags.say)
    sys.stderr.flush()
    for step in range(1, flags.steps + 1):
        _print(f"progress {step * 100 // flags.steps} 100")
        _sleep(flags.load / flags.steps, parent)
    if flags.fail:
        _print(f"failed {flags.fail}")
        return 1
    if flags.die is not None:
        return int(flags.die)
    _print(f"ready http://127.0.0.1:{flags.port}")
    if _dies_this_time(flags.die_after_ready):
        return 7
    _sleep(3_600.0, parent)
    return 0


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--load", type=float, default=0.0)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--port", type=int, default=4_321)
    parser.add_argument("--say", default="")
    parser.add_argument("--fail", default="")
    parser.add_argument("--die", type=int)
    parser.add_argument("--deaf", action="store_true")
    parser.add_argument("--grandchild", action="store_true")
    parser.add_argument("--die-after-ready", default="", help="N:FILE, at most N times")
    return parser.parse_args()


def _dies_this_time(spec: str) -> bool:
    """Each death leaves a byte in FILE, so that the next life knows."""
    if not spec:
        return False
    times, _, name = spec.partition(":")
    file = Path(name)
    deaths = len(file.read_bytes()) if file.exists() else 0
    if deaths < int(times):
        file.write_bytes(b"x" * (deaths + 1))
        return True
    return False


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _sleep(seconds: float, parent: int) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and os.getppid() == parent:
        time.sleep(TICK_S)


if __name__ == "__main__":
    sys.exit(main())
