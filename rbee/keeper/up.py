"""`rbee up` and `rbee down`: queen and hive in the background, and their end."""

from __future__ import annotations

import sys
from typing import Any

import click

from rbee.client.requests import hive_address, queen_address
from rbee.client.transport import call
from rbee.contracts.fleet import FleetStatus
from rbee.errors import RbeeError, Usage
from rbee.keeper import background, stack
from rbee.keeper.options import json_option
from rbee.wire import codec

PROBE_S = 1.0


@click.command()
@click.option("--queen", metavar="URL", default="", help="The queen's address: its port is used.")
@click.option("--hive", metavar="URL", default="", help="The hive's address: its port is used.")
@click.option("--bind", metavar="ADDR", help="Address to listen on; 127.0.0.1 unless told.")
@click.option("--insecure", is_flag=True, help="Allow an address that others can reach.")
@click.option("--id", metavar="NAME", help="The hive's name in the fleet.")
@click.option("--models-dir", metavar="DIR", help="Where GGUF files lie.")
@json_option
def up(queen: str, hive: str, as_json: bool, **flags: Any) -> None:
    """Start a queen and a hive in the background; what answers already is left alone."""
    wanted = stack.Addresses(queen_address(queen), hive_address(hive))
    for url in (wanted.queen, wanted.hive):
        if not stack.is_local(url):
            raise Usage(f"{url} is another machine's.", hint="run rbee up there")
    with background.locked():
        parts = stack.missing(wanted)
        if parts:
            made = stack.start(parts, wanted, _as_flags(parts, flags))
            _tell(f"up: {' and '.join(made.urls)} (pid {made.pid}, log {made.log})")
        else:
            _tell(f"already up: {wanted.queen} and {wanted.hive}")
        if as_json:
            sys.stdout.write(codec.encode(background.read()).decode() + "\n")


def _as_flags(parts: list[stack.Part], flags: dict[str, Any]) -> list[str]:
    """The options as `rbee serve` takes them; those of a hive only when one is started."""
    made = ["--bind", flags["bind"]] if flags["bind"] else []
    made += ["--insecure"] if flags["insecure"] else []
    for name in ("id", "models_dir"):
        if flags[name] and "hive" in parts:
            made += [f"--{name.replace('_', '-')}", flags[name]]
    return made


@click.command()
@click.option("--now", is_flag=True, help="Do not wait for answers that run.")
@json_option
def down(now: bool, as_json: bool) -> None:
    """End what `rbee up` started, with all its workers, when it has finished what runs."""
    if now:  # without the lock, which another `rbee down` that waits would hold
        for process in background.read().processes:
            background.hurry(process)
    with background.locked():
        record = background.read()
        for process in record.processes:
            killed = background.stop(process, _Waiting(process), asked=now)
            how = "killed, for it did not end by itself" if killed else "ended"
            _tell(f"down: {' and '.join(process.urls)} (pid {process.pid}) {how}")
        background.write(background.Record())
    if as_json:
        sys.stdout.write(codec.encode(record).decode() + "\n")
    if not record.processes:
        _tell("nothing is up that rbee up started")


class _Waiting:
    """Tells what is waited for, when that changes."""

    def __init__(self, process: background.Background) -> None:
        self._process = process
        self._told = ""

    def __call__(self, left_s: float) -> None:
        left = _running(self._process)
        if left != self._told:
            _tell(f"waiting for {left}, {left_s:.0f} s at most; rbee down --now does not wait")
        self._told = left


def _running(process: background.Background) -> str:
    """What still runs there, by its queen's word."""
    for url in process.urls:
        try:
            raw = call("GET", f"{url}/v1/status", silence_s=PROBE_S)
            status: FleetStatus = codec.decode(raw, FleetStatus)
        except RbeeError:
            continue  # no queen, or no longer one
        count = status.queue.leased + status.queue.waiting
        return f"{count} answer{'' if count == 1 else 's'} to finish"
    return f"process {process.pid} to end"


def _tell(text: str) -> None:
    sys.stderr.write(f"rbee: {text}\n")
