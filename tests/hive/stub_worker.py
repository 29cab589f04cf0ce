"""A child that speaks a worker's lines and misbehaves by flag: slow, deaf, failing or dying.

It runs no model, reports to the hive that it is told of, and drains as a worker does: `--drain S`
after the signal it ends. It ends when its parent does, so that no test can leave it behind.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

TICK_S = 0.02
BEAT_S = 0.5


def main() -> int:
    flags = _flags()
    parent = os.getppid()
    if flags.deaf:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
    elif flags.drain:
        signal.signal(signal.SIGUSR1, lambda *_: os._exit(_finish(flags.drain)))
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
    if flags.hive:
        threading.Thread(target=_report, args=(flags,), daemon=True).start()
    _sleep(3_600.0, parent)
    return 0


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("--id", "--hive-id", "--hive"):
        parser.add_argument(name, default="")
    parser.add_argument("--drain", type=float, default=0.0)
    parser.add_argument("--mute-after", type=float, default=3_600.0, help="Seconds of reporting.")
    parser.add_argument("--wedged", action="store_true", help="Its step takes too long.")
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


def _finish(after_s: float) -> int:
    time.sleep(after_s)
    return 0


def _report(flags: argparse.Namespace) -> None:
    ends, seq = time.monotonic() + flags.mute_after, 0
    while time.monotonic() < ends:
        seq += 1
        request = urllib.request.Request(
            f"{flags.hive}/v1/heartbeats",
            json.dumps(beat(flags.id, flags.hive_id, os.getpid(), seq, flags.wedged)).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            urllib.request.urlopen(request, timeout=5).close()
        except OSError as exc:
            sys.stderr.write(f"not heard: {exc}\n")
        time.sleep(BEAT_S)


def beat(worker: str, hive: str, pid: int, seq: int = 1, wedged: bool = False) -> dict[str, Any]:
    """A worker's heartbeat, as it crosses the wire."""
    return {
        "from": "worker",
        "id": worker,
        "incarnation": f"life-{pid}",
        "seq": seq,
        "url": "http://127.0.0.1:4321",
        "hive_id": hive,
        "model": "bee",
        "sha256": "",
        "device": "cpu",
        "state": "ready",
        "slots": 1,
        "busy": int(wedged),
        "waiting": 0,
        "context": 64,
        "step": 7,
        "step_age_s": 9.0 if wedged else 0.0,
        "step_limit_s": 5.0,
        "pid": pid,
    }


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
