"""What the queen asks of hives on behalf of waiting requests: spawns and downloads.

1. One errand for each (what, hive, model, device, context), however many requests wait for it; all
   of them see its progress, and its failure with the hive's own reason.
2. An errand runs to its end even when those who waited have left: the next one will be glad.
3. One that went well is remembered until the fleet shows its fruit (the worker's heartbeat, the
   hive's catalog), so that nobody starts it a second time in between.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Literal, get_args

import anyio
from anyio.abc import TaskGroup

from rbee.contracts.answers import Spawned
from rbee.contracts.events import AnyEvent, Done, Failed, Progress
from rbee.contracts.fleet import ModelEntry
from rbee.contracts.operations import Accelerator, ModelDownload, WorkerSpawn
from rbee.errors import (
    Draining,
    Invalid,
    Late,
    RbeeError,
    ServerGone,
    SpawnFailed,
    Unavailable,
    Upstream,
)
from rbee.queen.fleet import Fleet
from rbee.queen.scheduler import Download, Spawn
from rbee.wire.codec import convert
from rbee.wire.http import Http
from rbee.wire.problems import from_failed

log = logging.getLogger(__name__)
AGAIN_S = 1.0
"""Before a hive that was not there is asked again, if no other one is."""
FRUIT_S = 15.0
"""How long after an errand the fleet may take to show what came of it."""
Kind = Literal["spawn", "download"]
Key = tuple[Kind, str, str, str | None, int | None]
Report = Callable[[AnyEvent], None]


def key_of(wanted: Spawn | Download) -> Key:
    if isinstance(wanted, Spawn):
        return "spawn", wanted.hive.id, wanted.model, wanted.device, wanted.context
    return "download", wanted.hive.id, wanted.model, None, None


class Errand:
    """One spawn or download. `watchers` are the reports of the requests that wait for it."""

    def __init__(self, wanted: Spawn | Download) -> None:
        self.wanted = wanted
        self.kind: Kind = "spawn" if isinstance(wanted, Spawn) else "download"
        self.watchers: dict[int, Report] = {}
        self.last: Progress | None = None
        self.error: RbeeError | None = None
        self.gone = False
        """It failed for its hive was not there, or drains: another one may do it."""
        self.fruit = ""
        """The id of the worker or of the model that came of it."""
        self.ended: float | None = None

    def __repr__(self) -> str:
        return f"<Errand {self.kind} {self.wanted.model} on {self.wanted.hive.id}>"

    def watch(self, ticket: int, report: Report) -> None:
        """Tell `report` of the progress from now on, beginning with where it stands."""
        if ticket not in self.watchers:
            self.watchers[ticket] = report
            if self.last is not None:
                report(self.last)

    def progress(self, event: Progress) -> None:
        self.last = event
        for report in self.watchers.values():
            report(event)

    def borne(self, fleet: Fleet) -> bool:
        """Whether the fleet shows what came of it."""
        if self.kind == "spawn":
            return any(w.id == self.fruit for w in fleet.workers)
        return any(e.id == self.fruit and not e.problem for e in fleet.entries)


class _HiveGone(Unavailable):
    """What is said to those who waited, when no other hive did it either."""


class Errands:
    """All errands; `changed` is called whenever one has ended."""

    def __init__(
        self,
        group: TaskGroup,
        http: Http,
        limit_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._group = group
        self._http = http
        self._limit_s = limit_s
        self._clock = clock
        self._errands: dict[Key, Errand] = {}
        self.changed: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        return f"<Errands {list(self._errands.values())}>"

    def ensure(self, wanted: Spawn | Download) -> Errand:
        """The errand for `wanted`: the one that runs, or whose fruit is awaited, or a new one."""
        key = key_of(wanted)
        found = self._errands.get(key)
        if found is None:
            found = self._errands[key] = Errand(wanted)
            self._group.start_soon(self._run, key, found)
        return found

    def running(self, model: str, hive_id: str) -> Errand | None:
        """The spawn of `model` on that hive, whatever the device, if one is under way."""
        for errand in self._errands.values():
            same = (errand.wanted.model, errand.wanted.hive.id) == (model, hive_id)
            if same and errand.kind == "spawn" and errand.ended is None:
                return errand
        return None

    def __len__(self) -> int:
        return len(self._errands)

    def tidy(self, fleet: Fleet, now: float) -> None:
        """Forget the errands whose fruit is there, or did not come."""
        for key, errand in list(self._errands.items()):
            if errand.ended is not None and (errand.borne(fleet) or now - errand.ended > FRUIT_S):
                del self._errands[key]

    async def _run(self, key: Key, errand: Errand) -> None:
        log.info("%r begins", errand)
        try:
            with anyio.fail_after(self._limit_s):
                errand.fruit = _fruit(errand.wanted, await self._ask(errand))
        except TimeoutError:
            errand.error = Late(f"{errand!r} took longer than {self._limit_s:.0f} s.")
        except _HiveGone as exc:
            errand.error, errand.gone = exc, True
            await anyio.sleep(AGAIN_S)
        except RbeeError as exc:
            errand.error = exc
        except Exception as exc:
            log.exception("%r crashed", errand)
            errand.error = SpawnFailed(f"{type(exc).__name__} inside rbee; its log tells more.")
        errand.ended = self._clock()
        if errand.error is not None:
            log.warning("%r failed: %r", errand, errand.error.message)
            self._errands.pop(key, None)
        self.changed()

    async def _ask(self, errand: Errand) -> Done:
        """The hive's last word. Raises its own reason, `_HiveGone` when it gives none."""
        wanted, why = errand.wanted, "it broke off."
        body = _body(wanted)
        url = f"{wanted.hive.url}/v1/jobs"
        try:
            async with self._http.events("POST", url, body) as stream:
                async for events in stream:
                    for event in events:
                        if isinstance(event, Progress):
                            errand.progress(event)
                        elif isinstance(event, Failed):
                            raise from_failed(event)
                        elif isinstance(event, Done):
                            return event
        except RbeeError as exc:
            if not (isinstance(exc, Draining | ServerGone) or type(exc) is Upstream):
                raise
            why = exc.message
        deed = "start" if errand.kind == "spawn" else "fetch"
        raise _HiveGone(f"Hive {wanted.hive.id!r} could not {deed} {wanted.model!r}: {why}")


def _body(wanted: Spawn | Download) -> WorkerSpawn | ModelDownload:
    return _spawn(wanted) if isinstance(wanted, Spawn) else ModelDownload(model=wanted.model)


def _spawn(wanted: Spawn) -> WorkerSpawn:
    """A wish for a kind of device, or for one device."""
    for kind in get_args(Accelerator):
        if wanted.device == kind:
            return WorkerSpawn(model=wanted.model, worker=kind, context=wanted.context)
    return WorkerSpawn(model=wanted.model, device=wanted.device, context=wanted.context)


def _fruit(wanted: Spawn | Download, done: Done) -> str:
    """Raises `Upstream`: what a hive says wrongly is not the fault of the client who waits."""
    try:
        if isinstance(wanted, Spawn):
            spawned: Spawned = convert(done.result, Spawned)
            return spawned.worker_id
        entry: ModelEntry = convert(done.result, ModelEntry)
        return entry.id
    except Invalid as exc:
        raise Upstream(f"Hive {wanted.hive.id!r} answered wrongly: {exc.message}") from exc
