"""A person's own fleet: hurt after that person has said so, and only as far as it comes back by
itself, which is the workers that its hives run on this machine.

Workers that are missing are started, and those are deleted again at the end.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import anyio
import click

from rbee.client.requests import queen_address
from rbee.contracts.answers import Deleted, Spawned
from rbee.contracts.fleet import FleetStatus
from rbee.contracts.operations import WorkerProcessDelete
from rbee.errors import NoHive, RbeeError, Usage
from rbee.keeper.chaos.fleet import Fleet
from rbee.keeper.chaos.plan import Scenario
from rbee.wire.http import Http

END_S = 60.0


def possible(scenarios: Sequence[Scenario], refuse: bool) -> list[Scenario]:
    """Those that a person's own fleet may have; others are refused where they were named."""
    for scenario in scenarios:
        if refuse and scenario.alone:
            raise Usage(
                f"{scenario.name} is not done to your own fleet: {scenario.alone}.",
                hint="without --really it has a throw-away fleet",
            )
    return [scenario for scenario in scenarios if not scenario.alone]


class Confirmed:
    """Opens the fleet of one queen, who may be hurt: her owner has said so."""

    def __init__(self, queen: str) -> None:
        self._queen = queen

    def __call__(self, http: Http, scenario: Scenario) -> AbstractAsyncContextManager[Fleet]:
        return _opened(http, self._queen)


def confirmed(queen: str, yes: bool) -> Confirmed:
    """Ask the person at the terminal to type the queen's address; `yes` has said it already."""
    address = queen_address(queen)
    if not yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise Usage("--really asks at a terminal, and this is none; --yes answers it.")
        click.echo(f"Workers of {address} will be killed in the middle of answers.", err=True)
        typed = click.prompt("Type the queen's address to go on", err=True, default="")
        if typed.strip().rstrip("/") != address:
            raise Usage("That is another address; nothing was done.")
    return Confirmed(address)


@asynccontextmanager
async def _opened(http: Http, queen: str) -> AsyncIterator[Fleet]:
    status: FleetStatus = await http.call("GET", f"{queen}/v1/status", FleetStatus)
    here = socket.gethostname()
    hives = {h.hive.id: h.hive.url for h in status.hives if h.alive and h.hive.hostname == here}
    if not hives:
        raise NoHive(
            f"{queen} knows no hive on this machine ({here}).",
            hint="rbee chaos --really is run where the workers are that it may kill",
        )
    fleet = Own(http, queen, hives)
    try:
        await fleet.whole()
        yield fleet
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(END_S):
            await fleet.tidy()


class Own(Fleet):
    """Remembers what it started."""

    def __init__(self, http: Http, queen: str, hives: dict[str, str]) -> None:
        super().__init__(http, (queen,), hives)
        self._started: list[tuple[str, str]] = []

    async def spawn(self, hive_id: str) -> Spawned:
        made = await super().spawn(hive_id)
        self._started.append((hive_id, made.worker_id))
        return made

    async def tidy(self) -> None:
        """Delete the workers that were not there before."""
        for hive_id, worker_id in self._started:
            with suppress(RbeeError):  # gone already: drained, or given up
                url = f"{self.hives[hive_id]}/v1/jobs"
                await self.http.call("POST", url, Deleted, WorkerProcessDelete(worker_id=worker_id))
