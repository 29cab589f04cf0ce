"""The engine thread: the only one that touches the context. A step fits on one screen.

1. Commands (`Start`, `Cancel`, `Vector`) arrive in a queue and are taken in order, between steps.
2. What a step has made crosses to the event loop as one list. Beside its batch a step computes one
   vector at most, so that a long list of inputs stalls no stream.
3. A batch that llama.cpp refuses fails its own sequences; one that leaves the context in doubt
   ends the engine, which the owner turns into the end of the process: a hive starts a new one.
4. Liveness is work done: `steps` counts, `step_age` tells how long the current one has taken.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rbee.contracts.events import FinishReason, Logprob
from rbee.errors import RbeeError
from rbee.worker.engine.backend import Backend, DecodeFailed, Row
from rbee.worker.engine.constraint import Constraint
from rbee.worker.engine.planner import Batch, Planner
from rbee.worker.engine.planner import Sequence as Line
from rbee.worker.engine.sampling import Sampling, logprobs_of, penalise, pick, uniform
from rbee.worker.engine.text import Assembler

log = logging.getLogger(__name__)


@dataclass
class Start:
    """Generate: one line (sequence) for each choice."""

    line: Line
    sampling: Sampling
    assembler: Assembler
    constraint: Constraint | None = None
    top_logprobs: int | None = None


@dataclass(frozen=True)
class Cancel:
    request: str


@dataclass(frozen=True)
class Vector:
    """Compute pooled vectors; `done` is called in the engine thread with them or the failure."""

    inputs: Sequence[Sequence[int]]
    done: Callable[[list[Row] | RbeeError], None]
    cancelled: threading.Event = field(default_factory=threading.Event)


class _Stop:
    pass


Command = Start | Cancel | Vector | _Stop


@dataclass
class Update:
    """What a step did for one choice: `tokens` new ones, `text` now certain, the end if it came."""

    request: str
    choice: int
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    logprobs: list[Logprob] | None = None
    finish: FinishReason | None = None
    error: RbeeError | None = None
    admitted: float | None = None
    """When it got a slot (`time.monotonic`)."""


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
        self._planner = Planner(backend.slots, budget)
        self._starts: dict[Line, Start] = {}
        self._vectors: deque[tuple[Vector, list[Row]]] = deque()
        """Lists of inputs, with the vectors found so far."""
        self._inbox: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._stopping = False
        self._step_began = 0.0
        self.steps = 0

    def __repr__(self) -> str:
        return f"<Engine step {self.steps} {self._planner!r}>"

    def start(self) -> None:
        self._thread.start()

    def stop(self, wait_s: float = 10.0) -> bool:
        """End after the current step; False when that has not ended in time. Idempotent."""
        self.send(_Stop())
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def send(self, command: Command) -> None:
        """Hand a command over; from any thread."""
        self._inbox.put(command)

    @property
    def busy(self) -> int:
        return self._planner.busy

    @property
    def waiting(self) -> int:
        return self._planner.waiting

    @property
    def step_age_s(self) -> float:
        began = self._step_began
        return time.monotonic() - began if began else 0.0

    def step(self) -> None:
        updates = self._admit()
        batch = self._planner.next_batch()
        if batch.chunks:
            updates += self._compute(batch)
        if updates:
            self._publish(updates)
        if self._vectors:
            self._next_vector(*self._vectors[0])

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._drain(wait=self._planner.idle and not self._vectors)
                self._step_began = time.monotonic()
                self.step()
                self.steps += 1
                self._step_began = 0.0
        except Exception as exc:
            log.exception("the engine died")
            self._on_death(f"{type(exc).__name__}: {exc}")

    def _drain(self, *, wait: bool) -> None:
        """Take every command that is there; wait for one when there is nothing else to do."""
        while wait or not self._inbox.empty():
            command = self._inbox.get()
            wait = False
            if isinstance(command, Start):
                self._starts[command.line] = command
                self._planner.add(command.line)
            elif isinstance(command, Cancel):
                self._cancel(command.request)
            elif isinstance(command, Vector):
                self._vectors.append((command, []))
            else:
                self._stopping = True
                return

    def _cancel(self, request: str) -> None:
        gone = self._planner.cancel(request)
        for line in gone:
            del self._starts[line]
        if gone:
            self._publish([Update(request, line.choice, finish="cancelled") for line in gone])

    def _admit(self) -> list[Update]:
        admitted = self._planner.admit()
        for line in admitted:
            self._backend.forget(line.slot)
        now = time.monotonic()
        return [Update(line.request, line.choice, admitted=now) for line in admitted]

    def _compute(self, batch: Batch) -> list[Update]:
        try:
            self._backend.decode(batch.chunks)
        except DecodeFailed as exc:
            if exc.fatal:
                raise
            return [self._fail(line, exc) for line in batch.owners]
        self._planner.advance(batch)
        return [self._next_token(number, line) for number, line in batch.ripe]

    def _fail(self, line: Line, why: object) -> Update:
        self._forget(line)
        error = RbeeError(f"The engine could not compute this request: {why}.")
        return Update(line.request, line.choice, error=error)

    def _forget(self, line: Line) -> None:
        self._planner.end(line)
        del self._starts[line]

    def _next_token(self, number: int, line: Line) -> Update:
        """Sample, make text of it, and see whether the answer is complete."""
        start = self._starts[line]
        token, logprob = self._sample(self._backend.logits(number), start)
        update = Update(line.request, line.choice, [token])
        line.answer.append(token)
        if start.constraint is not None:
            start.constraint.accept(token)
            if start.constraint.failure:
                return self._fail(line, start.constraint.failure)
        vocabulary = self._backend.vocabulary
        if vocabulary.is_end(token):
            update.tokens, update.finish = [], "stop"
            line.answer.pop()
        else:
            update.text = start.assembler.feed(vocabulary.piece(token))
            update.logprobs = [logprob] if logprob else None
            update.finish = self._finish(start)
        if update.finish:
            update.text += start.assembler.finish()
            self._forget(line)
        return update

    def _finish(self, start: Start) -> FinishReason | None:
        if start.assembler.stopped or (start.constraint is not None and start.constraint.complete):
            return "stop"
        line = start.line
        full = len(line.prompt) + len(line.answer) >= self._backend.context
        return "length" if full or len(line.answer) >= line.limit else None

    def _sample(self, row: Row, start: Start) -> tuple[int, Logprob | None]:
        line, params = start.line, start.sampling
        raw = row.copy() if start.top_logprobs is not None else row
        if params.repeat_penalty != 1.0:
            context: Sequence[int] = [*line.prompt[-64:], *line.answer[-64:]]
        else:
            context = ()
        penalise(row, params, context, line.answer)
        if start.constraint is not None:
            start.constraint.apply(row)
        token = pick(row, params, uniform(params.seed, line.choice, len(line.answer)))
        if start.top_logprobs is None:
            return token, None
        return token, logprobs_of(raw, token, start.top_logprobs, self._backend.vocabulary)

    def _next_vector(self, command: Vector, found: list[Row]) -> None:
        error: RbeeError | None = None
        if not command.cancelled.is_set():
            try:
                found.append(self._backend.embed(command.inputs[len(found)]))
            except DecodeFailed as exc:
                if exc.fatal:
                    raise
                error = RbeeError(f"The engine could not compute this vector: {exc}.")
        if error or command.cancelled.is_set() or len(found) == len(command.inputs):
            self._vectors.popleft()
            command.done(error or found)
