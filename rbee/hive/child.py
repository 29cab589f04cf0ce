"""One supervised worker: what it is, in which state, and the task that sees its lives through.

1. Others read `view()`, await `settled` or `ended`, say what they want (`drain`, `stop`) and what
   they heard (`hear`, `look`); they never set a state.
2. A life is a process: a child of ours, or at first one that an earlier life of the hive started.
3. A drain is a life with a deadline; ending one now is SIGTERM and SIGINT, which says twice what
   SIGTERM alone says once (`rbee.wire.server`).

It is long because it is one state machine: whatever moves it shares all of its state.
"""

from __future__ import annotations

import logging
import math
import random
import signal
import time
from collections.abc import Callable
from functools import partial

import anyio

from rbee.config import HiveConfig
from rbee.contracts.answers import Spawned
from rbee.contracts.fleet import WorkerBeat, WorkerProcess
from rbee.errors import Cancelled, Draining, RbeeError, SpawnFailed
from rbee.hive import verdict
from rbee.hive.adopted import follow
from rbee.hive.launch import Command, Said, Wish, port_of, understand
from rbee.hive.lifecycle import (
    ALIVE,
    MOVES,
    ChildState,
    after_exit,
    backoff_s,
    crashes_in_a_row,
)
from rbee.hive.orphans import Orphan
from rbee.hive.process import Process, measured, run
from rbee.hive.pulse import Pulse, ailment, pulse_of
from rbee.hive.tail import Tail
from rbee.wire.drain import DRAIN_SIGNAL

log = logging.getLogger(__name__)
NOW = (signal.SIGTERM, signal.SIGINT)
Report = Callable[[int, int], None]
"""(done, total) of loading."""


class Child:
    """A worker from its first start until it is stopped or given up."""

    def __init__(
        self,
        wish: Wish,
        command: Command,
        config: HiveConfig,
        *,
        changed: Callable[[], None],
        report: Report,
        orphan: Orphan | None = None,
    ) -> None:
        self.wish = wish
        self.state: ChildState = "starting"
        self.url = ""
        self.error: RbeeError | None = None
        self.restarts = 0
        self.settled = anyio.Event()
        """It serves, or never will."""
        self.ended = anyio.Event()
        """No process and no task is left."""
        self.drained = False
        """Whether it was asked to end when it has finished."""
        self._command = command
        self._config = config
        self._changed = changed
        self._report = report
        self._tail = Tail()
        self._orphan = orphan
        self._found = False
        """This life was begun by an earlier life of the hive."""
        self._process: Process | None = None
        self._pulse = Pulse(time.monotonic())
        self._exit_code: int | None = None
        self._said_error: RbeeError | None = None
        self._ready_at = 0.0
        self._crashes = 0
        self._has_served = orphan is not None
        self._scope = anyio.CancelScope()

    def __repr__(self) -> str:
        return f"<Child {self.wish.worker_id} {self.state} pid {self.pid}>"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def alive(self) -> bool:
        return self.state in ALIVE

    @property
    def running(self) -> int:
        """Answers that it is giving, by its last heartbeat."""
        return self._pulse.running

    def stop(self) -> None:
        """Ask it to end; `ended` tells when it has. Idempotent."""
        if self.state not in ("stopping", "stopped"):
            self._move("stopping")
            self._scope.cancel()

    def drain(self, limit_s: float) -> None:
        """Have it take nothing new and end when it has finished, after `limit_s` in any case. One
        that does not serve is stopped."""
        self.drained = True
        limit = anyio.current_time() + limit_s
        if self.state == "draining":
            self._scope.deadline = min(limit, self._scope.deadline)
        elif self.state == "ready" and self._process is not None:
            self._move("draining")
            self._scope.deadline = limit
            self._process.send(DRAIN_SIGNAL)
        else:
            self.error = self.error or Draining("This hive takes no workers any more.")
            self.stop()

    def hear(self, beat: WorkerBeat, now: float) -> bool:
        """Take its heartbeat; False when that comes from another process than its own."""
        if self.pid is None or beat.pid != self.pid:
            return False
        self._pulse = pulse_of(beat, now)
        if self._found and beat.state == "draining" and self.state == "ready":
            self._drains_already()
        return True

    def _drains_already(self) -> None:
        """An earlier life of the hive asked it to end: it is not asked again, nor started again."""
        self.drained = True
        self._move("draining")
        self._scope.deadline = anyio.current_time() + self._config.drain_s

    def look(self, now: float, awake: float) -> None:
        """Kill it when it does not get on; another life follows, unless it was to end anyway."""
        if self.state not in ("ready", "draining") or self._process is None:
            return
        if ill := ailment(self._pulse, now, awake):
            self._process.send(signal.SIGKILL)
            if self.state == "ready":
                self._fell(verdict.killed(ill, self._tail))

    async def live(self) -> None:
        """The task of this worker. Cancelling it stops the process first."""
        try:
            while await self._one_life() == "backoff":
                await self._pause()
        finally:
            if self.state not in ("failed", "stopped"):
                if self.state != "stopping":
                    self._move("stopping")
                self._move("stopped")
            self.settled.set()
            self.ended.set()
            self._changed()

    async def _one_life(self) -> ChildState:
        """Start the process and see it through to its end; the state that this leads to."""
        if not self._is("starting"):
            return self.state
        self._said_error, self._ready_at, self.url = None, 0.0, ""
        limit = anyio.current_time() + self._config.start_limit_s
        code: int | None = None
        with anyio.CancelScope(deadline=limit) as self._scope:
            try:
                code = await self._run()
            except SpawnFailed as exc:
                self._said_error = exc
        self._exit_code = self._process.exit_code if self._process else None
        self._process = None
        if self._is("starting") or self._is("ready"):  # nobody has decided yet what comes now
            self._gone(code, late=self._scope.cancelled_caught)
        return self.state

    async def _run(self) -> int | None:
        orphan, self._orphan = self._orphan, None
        grace_s = self._config.stop_grace_s
        if orphan is not None:
            adopted = partial(self._adopted, orphan.url)
            await follow(orphan.process, on_start=adopted, grace_s=grace_s, signals=NOW)
            return None
        return await run(
            self._command.argv,
            self._command.env,
            on_start=self._started,
            on_line=self._line,
            tail=self._tail,
            grace_s=grace_s,
            signals=NOW,
        )

    def _adopted(self, url: str, process: Process) -> None:
        self._process, self._found = process, True
        self._tail.add(f"--- process {process.pid}, adopted: nobody hears what it says ---")
        log.info("worker %s: process %d adopted", self.wish.worker_id, process.pid)
        self._serves(url)

    def _started(self, process: Process) -> None:
        self._process, self._found = process, False
        self._tail.begin(process.pid)
        log.info("worker %s: process %d started", self.wish.worker_id, process.pid)
        self._changed()

    def _line(self, line: str) -> None:
        said = understand(line)
        match said:
            case Said(kind="ready") if self.state == "starting" and not self._scope.cancel_called:
                self._serves(said.url)
            case Said(kind="progress") if not self.settled.is_set():
                self._report(said.done, said.total)
            case Said(kind="failed"):
                self._said_error = said.error
            case _:
                pass  # log, which the tail keeps

    def _serves(self, url: str) -> None:
        self._scope.deadline = math.inf
        self._has_served = True
        self._ready_at = time.monotonic()
        self._pulse = Pulse(self._ready_at)
        self.url, self.error = url, None
        self._move("ready")
        self.settled.set()

    def _gone(self, code: int | None, *, late: bool) -> None:
        """The process ended, and nobody asked it to."""
        said = verdict.explained(self._said_error, self._tail)
        self._fell(said or self._guess(code, late=late))

    def _fell(self, error: RbeeError) -> None:
        """It serves no more: another life follows after a pause, or it is given up."""
        self.error = error
        served_s = time.monotonic() - self._ready_at if self._ready_at else 0.0
        self._crashes = crashes_in_a_row(self._crashes, served_s, self._config.backoff_max_s)
        self.url = ""
        log.warning("worker %s: %s", self.wish.worker_id, self.error)
        self._move(after_exit(self._has_served, self._crashes, self._config.crashes_max))

    def _guess(self, code: int | None, *, late: bool) -> SpawnFailed:
        if late:
            return verdict.late(self._config.start_limit_s, self._tail)
        return verdict.died(code, bool(self._ready_at), self._tail)

    async def _pause(self) -> None:
        """Wait before the next life; `stop` wakes it."""
        first_s, max_s = self._config.backoff_first_s, self._config.backoff_max_s
        wait_s = backoff_s(self._crashes, first_s, max_s, random.random())
        with anyio.CancelScope() as self._scope:
            await anyio.sleep(wait_s)
        if self.state == "backoff":
            self.restarts += 1
            self._move("starting")

    def _is(self, state: ChildState) -> bool:
        """Asked again after an await, when another may have called `stop`."""
        return self.state == state

    def _move(self, state: ChildState) -> None:
        if state not in MOVES[self.state]:
            raise RuntimeError(f"{self.wish.worker_id} cannot go from {self.state} to {state}")
        self.state = state
        self._changed()

    def outcome(self) -> Spawned:
        """What the asker gets once `settled`. Raises the reason when it does not serve."""
        if self.state == "ready" and self.pid is not None:
            wish = self.wish
            return Spawned(
                wish.worker_id, self.pid, port_of(self.url), self.url, wish.model_id, wish.device
            )
        raise self.error or Cancelled(f"Worker {self.wish.worker_id} was stopped.")

    def view(self, *, with_tail: bool = False) -> WorkerProcess:
        """What the outside may see."""
        wish = self.wish
        return WorkerProcess(
            worker_id=wish.worker_id,
            model=wish.model_id,
            state=self.state,
            port=port_of(self.url) or None,
            url=self.url,
            device=wish.device,
            sha256=wish.sha256,
            slots=wish.slots,
            context=wish.context,
            restarts=self.restarts,
            exit_code=self._exit_code,
            reason=self.error.message if self.error else "",
            log_tail=self._tail.lines() if with_tail else [],
            lora=list(wish.lora),
            sees=wish.projector is not None,
            **(measured(self._process) if self._process else {}),
        )
