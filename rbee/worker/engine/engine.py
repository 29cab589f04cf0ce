"""The engine thread: the only one that touches the context. A step fits on one screen.

1. Commands arrive in a queue and are taken in order, between steps.
2. What a step has made crosses to the event loop as one list, while the next one is decoded. Beside
   its batch a step computes one group of vectors at most, so that a long list of inputs stalls no
   stream.
3. A full pool gives something up and the step is planned anew. A batch that llama.cpp refuses fails
   its own sequences; one that leaves the context in doubt ends the engine, which the owner turns
   into the end of the process: a hive starts a new one.
4. Liveness is work done: `steps` counts, `pulse` tells how long what it does takes, and may take.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import assert_never

from rbee.errors import RbeeError
from rbee.worker.engine.backend import Backend, Chunk, DecodeFailed, NoRoom, Rows
from rbee.worker.engine.batch import Batch
from rbee.worker.engine.commands import Cancel, Command, Pause, Proceed, Start, Stop, Vector
from rbee.worker.engine.planner import Planner
from rbee.worker.engine.pooling import Pooling
from rbee.worker.engine.sequence import Sequence as Line
from rbee.worker.engine.slots import Copy, Edit
from rbee.worker.engine.watch import Watch
from rbee.worker.engine.writer import Update, Writer

log = logging.getLogger(__name__)


@dataclass
class Counters:
    """Totals since the start; written by the engine thread alone."""

    steps: int = 0
    step_s: float = 0.0
    decode_s: float = 0.0
    drafted: int = 0
    drafts_true: int = 0


class Engine:
    """Owns the backend and its thread. `publish` is called there, once a step."""

    def __init__(
        self,
        backend: Backend,
        budget: int,
        publish: Callable[[list[Update]], None],
        on_death: Callable[[str], None],
    ) -> None:
        self._backend = backend
        self._publish = publish
        self._on_death = on_death
        self.planner = Planner(
            backend.slots,
            backend.context,
            budget,
            pooled=backend.pooled,
            can_trim=backend.can_trim,
        )
        self._writers: dict[Line, Writer] = {}
        self._pooling = Pooling(backend)
        self._outbox: list[Update] = []
        """What the event loop is to be told next."""
        self._inbox: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._stopping = False
        self.watch = Watch()
        self.counters = Counters()

    def __repr__(self) -> str:
        return f"<Engine step {self.steps} {self.planner!r}>"

    def start(self) -> None:
        self._thread.start()

    def stop(self, wait_s: float = 10.0) -> bool:
        """End after the current step; False when that has not ended in time. Idempotent."""
        self.send(Stop())
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def send(self, command: Command) -> None:
        """Hand a command over; from any thread."""
        if self._inbox.empty():
            self.watch.asked()
        self._inbox.put(command)

    @property
    def steps(self) -> int:
        return self.counters.steps

    @property
    def busy(self) -> int:
        return self.planner.busy

    @property
    def waiting(self) -> int:
        return self.planner.waiting

    @property
    def pulse(self) -> tuple[float, float]:
        """Seconds that the engine has been at what it does, and how many it may be: past these it
        counts as wedged. An age of 0: it waits for a command."""
        return self.watch.pulse(waits=not self._inbox.empty())

    @property
    def step_age_s(self) -> float:
        return self.pulse[0]

    @property
    def step_limit_s(self) -> float:
        return self.pulse[1]

    def step(self) -> None:
        self._admit()
        batch = self._decode()
        if batch.chunks:
            self.planner.advance(batch)
            self._outbox += self._written(batch, self._backend.rows())
        if self.planner.idle or self._pooling:
            self._send()
        if self._pooling:
            self.watch.begin(self._pooling.limit_s)
            self._pooling.step()

    def _send(self) -> None:
        """Hand over what there is to say. Just before a decode, while which the event loop has the
        interpreter for itself: earlier it would only stand in the way of the next step's plan."""
        if self._outbox:
            updates, self._outbox = self._outbox, []
            self._publish(updates)

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._drain(wait=self.planner.idle and not self._pooling)
                began = self.watch.begin()
                self.counters.steps += 1
                self.step()
                self.counters.step_s += time.monotonic() - began
            self._send()
        except Exception as exc:
            log.exception("the engine died")
            self._on_death(f"{type(exc).__name__}: {exc}")

    def _drain(self, *, wait: bool) -> None:
        """Take every command that is there; wait for one when there is nothing else to do."""
        if wait:
            self.watch.rest()
            command = self._inbox.get()
            self.watch.begin()
            self._take_in(command)
        while not (self._stopping or self._inbox.empty()):
            self._take_in(self._inbox.get())

    def _take_in(self, command: Command) -> None:
        match command:
            case Start(writer):
                self._writers[writer.line] = writer
                self.planner.add(writer.line)
            case Cancel(request, choice):
                self._cancel(request, choice)
            case Pause(request):
                self.planner.pause(request)
            case Proceed(request):
                self.planner.proceed(request)
            case Vector():
                self._pooling.add(command)
            case Stop():
                self._stopping = True
            case _:
                assert_never(command)

    def _cancel(self, request: str, choice: int | None) -> None:
        gone = self.planner.cancel(request, choice)
        for line in gone:
            del self._writers[line]
        self._outbox += [Update(request, line.choice, finish="cancelled") for line in gone]

    def _admit(self) -> None:
        admitted = self.planner.admit()
        now = time.monotonic()
        self._outbox += [Update(line.request, line.choice, admitted=now) for line in admitted]

    def _decode(self) -> Batch:
        """Compute the next batch; an empty one when there is none, or when it failed."""
        copies = 0
        while True:
            batch = self.planner.next_batch()
            edits = self.planner.edits()
            copies += sum(isinstance(edit, Copy) for edit in edits)
            if not self._edit(edits):
                continue
            if not batch.chunks:
                return batch
            self._send()
            load = batch.load(copies * self._backend.copy_bytes)
            began = self.watch.begin_batch(load)
            try:
                self._backend.decode(batch.chunks, batch.adapter)
            except NoRoom:
                if self.planner.make_room():
                    continue
                self._outbox += self._failed(batch, "it does not fit into the worker's memory")
                return Batch()
            except DecodeFailed as exc:
                if exc.fatal:
                    raise
                self._outbox += self._failed(batch, exc)
                return Batch()
            took = time.monotonic() - began
            self.counters.decode_s += took
            self.planner.pace.observe(batch.decoding, batch.prompt_tokens, took)
            self.watch.end_batch(load, took)
            return batch

    def _edit(self, edits: Iterable[Edit]) -> bool:
        """Make the slots' memory what the plan takes it for; False when the plan has changed."""
        done = True
        for edit in edits:
            if isinstance(edit, Copy):
                self._backend.copy(edit.source, edit.target)
            slot = edit.target if isinstance(edit, Copy) else edit.slot
            if not self._backend.trim(slot, edit.length):
                log.warning("the memory of slot %d cannot be cut: it is computed anew", slot)
                self.planner.lost(slot)
                done = False
        return done

    def _failed(self, batch: Batch, why: object) -> list[Update]:
        made = []
        for line in batch.sequences:
            self._forget(line, keep=False)
            error = RbeeError(f"The engine could not compute this request: {why}.")
            made.append(Update(line.request, line.choice, error=error))
        return made

    def _forget(self, line: Line, *, keep: bool = True) -> None:
        self.planner.end(line, keep=keep)
        del self._writers[line]

    def _written(self, batch: Batch, rows: Rows) -> list[Update]:
        """What the batch's rows become, for each sequence that has some."""
        made, at = [], 0
        for chunk, line in zip(batch.chunks, batch.owners, strict=True):
            own = rows[at : at + chunk.outputs]
            at += chunk.outputs
            update = self._take(line, chunk, own) if line is not None and len(own) else None
            if line is None or update is None:
                continue
            made.append(update)
            if len(own) > 1 and line.answer:
                self.planner.rewind(line)
            if update.finish or update.error:
                self._forget(line, keep=update.error is None)
        return made

    def _take(self, line: Line, chunk: Chunk, rows: Rows) -> Update | None:
        """A writer's word to its rows; one that stumbles fails alone."""
        drafted = len(rows) - 1 if line.draft else 0
        try:
            update = self._writers[line].take(chunk.start, rows)
        except Exception as exc:
            log.exception("%r cannot be written", line)
            error = RbeeError(f"{type(exc).__name__} inside rbee; the worker's log tells more.")
            return Update(line.request, line.choice, error=error)
        if drafted:
            self.counters.drafted += drafted
            self.counters.drafts_true += max(len(update.tokens) - 1, 0) if update else 0
        return update
