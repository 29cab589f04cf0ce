"""`infer` as a job: one prompt or several, streamed or whole, within its deadline."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

import anyio

from rbee.contracts.answers import InferAnswer
from rbee.contracts.events import AnyEvent, Done, Token
from rbee.contracts.fleet import WorkerBeat
from rbee.contracts.operations import Infer
from rbee.contracts.worker_api import Begun
from rbee.errors import Cancelled, Invalid, Late, RbeeError
from rbee.queen.metrics import Metrics
from rbee.queen.pursuit import Pursuit
from rbee.queen.relay import Emit, Relay
from rbee.queen.several import echoed, joined, moved
from rbee.wire.fold import Fold
from rbee.wire.http import Http
from rbee.wire.jobs import Job

Run = Callable[[Infer, Job, Emit], Awaitable[Done]]


class Inference:
    """Runs `infer` as a job. A worker keeps what it writes for this queen for `grace_s` when she is
    gone."""

    def __init__(self, pursuit: Pursuit, http: Http, metrics: Metrics, grace_s: float) -> None:
        self._pursuit = pursuit
        self._http = http
        self._metrics = metrics
        self.grace_s = grace_s

    async def run(self, infer: Infer, job: Job) -> InferAnswer | None:
        """Emit the answer's events into `job`; returns it folded when it was asked for whole."""
        return await self._fold([infer], job, self._alone)

    async def run_all(self, infers: Sequence[Infer], job: Job) -> InferAnswer | None:
        """Several prompts as one answer: the choices of each follow those of the one before, and
        each begins with the prompt itself where that is to be echoed."""
        plain = len(infers) == 1 and not infers[0].echo
        return await self._fold(infers, job, self._alone if plain else self._told)

    async def take_over(self, begun: Begun, infer: Infer, worker: WorkerBeat, job: Job) -> None:
        """An answer that another queen had asked `worker` for, from where its log begins.

        The worker keeps its deadline. How much of that has passed nobody tells, so here it counts
        from now: for the worker that may have to go on."""
        relay = Relay(self._http, infer, job.id, _into(job), job.log, grace_s=self.grace_s)
        relay.take_over(begun)
        job.migrations = relay.migrations
        job.emit(await self._counted(infer, job, relay, writing=worker))

    async def _fold(self, infers: Sequence[Infer], job: Job, run: Run) -> InferAnswer | None:
        fold = None if infers[0].stream else Fold(sum(i.n for i in infers))
        out = _into(job)

        def emit(events: Sequence[AnyEvent]) -> None:
            if fold is not None:
                fold.add(events)
            out(events)

        if len(infers) == 1:
            done = await run(infers[0], job, emit)
        else:
            done = await self._side_by_side(infers, job, emit, run)
        job.emit(done)
        return fold.answer(job.id, done) if fold is not None else None

    async def _alone(self, infer: Infer, job: Job, emit: Emit) -> Done:
        """The job's log is this answer's."""
        clocked = _Clocked(emit, self._metrics)
        relay = Relay(self._http, infer, job.id, clocked, job.log, grace_s=self.grace_s)
        clocked.model = lambda: relay.model
        return await self._counted(infer, job, relay)

    async def _told(self, infer: Infer, job: Job, emit: Emit) -> Done:
        """The job's log is made of this answer, and perhaps of others."""
        clocked = _Clocked(echoed(emit, infer.n), self._metrics)
        relay = Relay(self._http, infer, job.id, clocked, job.log, whole=False)
        clocked.model = lambda: relay.model
        return await self._counted(infer, job, relay)

    async def _side_by_side(self, infers: Sequence[Infer], job: Job, emit: Emit, run: Run) -> Done:
        ends: dict[int, Done] = {}
        errors: list[RbeeError] = []

        async def one(number: int, infer: Infer, scope: anyio.CancelScope) -> None:
            first = sum(i.n for i in infers[:number])
            try:
                ends[number] = await run(infer, job, moved(emit, first))
            except RbeeError as exc:
                errors.append(exc)
                scope.cancel()

        async with anyio.create_task_group() as group:
            for number, infer in enumerate(infers):
                group.start_soon(one, number, infer, group.cancel_scope)
        if errors:
            raise errors[0]
        return joined([(ends[i], infers[i].n) for i in range(len(infers))])

    async def _counted(
        self, infer: Infer, job: Job, relay: Relay, writing: WorkerBeat | None = None
    ) -> Done:
        """Run it, and tell the metrics how it went."""
        outcome = Cancelled.code
        try:
            done = await self._within_deadline(infer, job, relay, writing)
            outcome = "ok"
            return done
        except RbeeError as exc:
            outcome = exc.code
            raise
        finally:
            self._metrics.ended(relay.model, outcome)

    async def _within_deadline(
        self, infer: Infer, job: Job, relay: Relay, writing: WorkerBeat | None
    ) -> Done:
        if infer.deadline_ms is None:
            return await self._pursuit.finish(relay, infer, job, None, writing)
        limit_s = infer.deadline_ms / 1_000
        with anyio.move_on_after(limit_s):
            ends = self._pursuit.clock() + limit_s
            return await self._pursuit.finish(relay, infer, job, ends, writing)
        raise Late(f"The answer was not complete within {infer.deadline_ms} ms.")


def _into(job: Job) -> Emit:
    def emit(events: Sequence[AnyEvent]) -> None:
        job.emit(*events)

    return emit


class _Clocked:
    """An `Emit` that measures the time to the first token."""

    def __init__(self, emit: Emit, metrics: Metrics) -> None:
        self._emit = emit
        self._metrics = metrics
        self._began = time.monotonic()
        self._waiting = True
        self.model: Callable[[], str] = lambda: ""

    def __call__(self, events: Sequence[AnyEvent]) -> None:
        if self._waiting and any(isinstance(event, Token) for event in events):
            self._waiting = False
            self._metrics.first_token(self.model(), time.monotonic() - self._began)
        self._emit(events)


def check(infer: Infer) -> None:
    """What no field's type says. Raises `Invalid`."""
    if (infer.prompt is None) == (infer.messages is None):
        raise Invalid("Give exactly one of messages and prompt.", path="$.prompt")
    if infer.tools is not None and infer.messages is None:
        raise Invalid("Tools need messages.", path="$.tools")
    if infer.max_tokens == 0 and not infer.echo:
        raise Invalid("max_tokens of 0 asks for nothing; only echo may.", path="$.max_tokens")
    _check_form(infer)


def _check_form(infer: Infer) -> None:
    """The output has one form, and a place in one text."""
    forms = [f for f in ("json_schema", "grammar", "regex") if getattr(infer, f) is not None]
    if len(forms) > 1:
        raise Invalid(f"Give {' or '.join(forms)}, not both.", path=f"$.{forms[-1]}")
    if infer.suffix is not None and infer.prompt is None:
        raise Invalid("A suffix needs a prompt: a chat has no middle.", path="$.suffix")
    if infer.suffix is not None and infer.echo:
        raise Invalid("Give suffix or echo, not both.", path="$.suffix")
