"""The local queen and hive in the background: find out what is missing, and start that.

1. Whoever starts holds the lock, and looks again once it has it: two at a time start one stack.
2. The child prints `ready` for each server; until then it is ours to end. What it logs goes to a
   file, whose tail is shown when it dies first.
3. Only local addresses: a queen on another machine is started there.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal
from urllib.parse import urlsplit

import psutil

from rbee import config, paths
from rbee.client.transport import call
from rbee.contracts.answers import Health
from rbee.errors import Late, PortInUse, RbeeError, ServerGone, SpawnFailed
from rbee.keeper import background
from rbee.keeper.background import Background
from rbee.wire import codec

READY_LIMIT_S = 60.0
PROBE_S = 3.0
TAIL_LINES = 12
Part = Literal["queen", "hive"]


@dataclass(frozen=True)
class Addresses:
    """Where the stack is, or shall be."""

    queen: str
    hive: str

    def of(self, part: Part) -> str:
        return self.queen if part == "queen" else self.hive


def ensure(queen: str, hive: str) -> bool:
    """Have a local stack running, saying so in one line when it is started here. False when the
    addresses are another machine's."""
    if not (is_local(queen) and is_local(hive)):
        return False
    wanted = Addresses(queen, hive)
    with background.locked():
        parts = missing(wanted)
        if parts:
            names = " and ".join(f"a {part}" for part in parts)
            sys.stderr.write(f"rbee: starting {names} in the background; rbee down ends them\n")
            start(parts, wanted)
    return True


def missing(wanted: Addresses) -> list[Part]:
    """What does not answer. Raises `PortInUse` when something else sits at an address."""
    parts: tuple[Part, ...] = ("queen", "hive")
    return [part for part in parts if not answers(part, wanted.of(part))]


def answers(part: Part, url: str) -> bool:
    """Whether that role answers at that address."""
    try:
        found: Health = codec.decode(call("GET", f"{url}/health", silence_s=PROBE_S), Health)
    except ServerGone:
        return False
    except Late as exc:
        raise Late(exc.message, hint="if rbee up started it, rbee down ends it") from exc
    except RbeeError as exc:
        raise PortInUse(f"Something that is not rbee answers at {url}: {exc.message}") from exc
    if found.role != part:
        raise PortInUse(f"At {url} answers a {found.role}, not a {part}.")
    return True


def start(parts: Sequence[Part], wanted: Addresses, flags: Sequence[str] = ()) -> Background:
    """Start `parts` as one detached process and wait until all are ready; needs the lock.

    Raises `SpawnFailed` with the tail of the log, or `Late`.
    """
    log = background.folder() / "logs" / f"{parts[0] if len(parts) == 1 else 'rbee'}.log"
    command = _command(parts, wanted, flags)
    child = _spawn(command, log)
    try:
        _await_ready(child, len(parts), log)
        process = psutil.Process(child.pid)
        made = Background(
            pid=child.pid,
            started=process.create_time(),
            command=process.cmdline(),
            urls=[wanted.of(part) for part in parts],
            log=str(log),
            drain_s=max(map(_drain_s, parts)),
        )
        record = background.read()
        background.write(background.Record(processes=[*record.processes, made]))
    except BaseException:
        _end(child)
        raise
    _let_go(child)
    return made


def _drain_s(part: Part) -> float:
    """How long it may take to end, by the settings that it has just read."""
    file = paths.config_dir() / f"{part}.toml"
    if part == "queen":
        return config.load(config.QueenConfig, file).drain_s
    return config.load(config.HiveConfig, file).drain_s


def _command(parts: Sequence[Part], wanted: Addresses, flags: Sequence[str]) -> list[str]:
    port = {part: str(urlsplit(wanted.of(part)).port or 80) for part in parts}
    if len(parts) == 2:
        own = ["--queen-port", port["queen"], "--hive-port", port["hive"]]
    elif parts[0] == "queen":
        own = ["--role", "queen", "--port", port["queen"]]
    else:
        own = ["--role", "hive", "--port", port["hive"], "--queen", wanted.queen]
    host = urlsplit(wanted.of(parts[0])).hostname or ""
    bind = [] if "--bind" in flags or host in ("localhost", "127.0.0.1") else ["--bind", host]
    return [sys.executable, "-P", "-m", "rbee.main", "serve", *own, *bind, *flags]


def _spawn(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        os.replace(log, log.with_suffix(".log.1"))
    env = dict(os.environ)
    if env.get("RBEE_HOME"):
        env["RBEE_HOME"] = str(Path(env["RBEE_HOME"]).expanduser().absolute())
    windows = 0x00000208 if sys.platform == "win32" else 0  # detached, in its own process group
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=file,
            env=env,
            cwd=background.folder(),
            start_new_session=True,
            creationflags=windows,
        )


def _await_ready(child: subprocess.Popen[bytes], count: int, log: Path) -> None:
    """Return when the child has said `ready` as often as it has servers."""
    assert child.stdout is not None
    lines: queue.Queue[bytes] = queue.Queue(maxsize=64)
    threading.Thread(target=_read_lines, args=(child.stdout, lines, count), daemon=True).start()
    end = time.monotonic() + READY_LIMIT_S
    ready = 0
    while ready < count:
        try:
            line = lines.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            raise Late(f"Not ready after {READY_LIMIT_S:.0f} s.", hint=f"its log: {log}") from None
        if not line:
            raise _died(child, log)
        ready += line.startswith(b"ready ")


def _read_lines(pipe: IO[bytes], lines: queue.Queue[bytes], count: int) -> None:
    """Hand over lines up to the last `ready`, or an empty one at the end."""
    for line in pipe:
        lines.put(line)
        count -= line.startswith(b"ready ")
        if count == 0:
            return
    lines.put(b"")


def _died(child: subprocess.Popen[bytes], log: Path) -> SpawnFailed:
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(5)
    text = "\n".join(f"  {line}" for line in tail(log))
    return SpawnFailed(
        f"It ended while starting, with exit code {child.returncode}. Its last lines:\n{text}",
        hint=f"the whole log is {log}",
    )


def tail(log: Path) -> list[str]:
    """The last lines of a log."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
        return file.read().decode("utf-8", "replace").splitlines()[-TAIL_LINES:]


def _let_go(child: subprocess.Popen[bytes]) -> None:
    """It lives on without us: nobody shall wait for it, and nobody reads it any more."""
    assert child.stdout is not None
    child.stdout.close()
    child.returncode = 0


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(10)


def is_local(url: str) -> bool:
    """Whether an address is this machine's loopback."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")
