"""One request from its arrival to its last event: lease, relay, and again when a worker was lost.

A worker that is gone before it said anything costs the client only time: another is tried, at most
`ATTEMPTS` in all. Once tokens are out, starting anew would say them twice: the answer fails.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

import anyio

from rbee.contracts.answers import InferAnswer
from rbee.contracts.chat import ImagePart
from rbee.contracts.events import AnyEvent, Done, Prompt, Token, Usage
from rbee.contracts.operations import Infer
from rbee.errors import Cancelled, Invalid, Late, RbeeError, WorkerGone
from rbee.queen.dispatch import Dispatch
from rbee.queen.metrics import Metrics
from rbee.queen.registry import Registry
from rbee.queen.relay import Emit, Relay
from rbee.queen.scheduler import Need
from rbee.wire.fold import Fold, reason_of
from rbee.wire.http import Http
from rbee.wire.jobs import Job

ATTEMPTS = 3
Run = Callable[[Infer, Job, Emit], Awaitable[Done]]


class Inference:
    """Runs `infer` as a job."""

    def __init__(
        self, registry: Registry, dispatch: Dispatch, http: Http, metrics: Metrics
    ) -> None:
        self._registry = registry
        self._dispatch = dispatch
        self._http = http
        self._metrics = metrics

    async def run(self, infer: Infer, job: Job) -> InferAnswer | None:
        """Emit the answer's events into `job`; returns it folded when it was asked for whole."""
        return await self._fold([infer], job, self._counted)

    async def run_all(self, infers: Sequence[Infer], job: Job) -> InferAnswer | None:
        """Several prompts as one answer: the choices of each follow those of the one before, and
        each begins with the prompt itself where that is to be echoed."""
        return await self._fold(infers, job, self._told)

    async def _fold(self, infers: Sequence[Infer], job: Job, run: Run) -> InferAnswer | None:
        fold = None if infers[0].stream else Fold(sum(i.n for i in infers))

        def emit(events: Sequence[AnyEvent]) -> None:
            if fold is not None:
                fold.add(events)
            job.emit(*events)

        if len(infers) == 1:
            done = await run(infers[0], job, emit)
        else:
            done = await self._side_by_side(infers, job, emit, run)
        job.emit(done)
        return fold.answer(job.id, done) if fold is not None else None

    async def _told(self, infer: Infer, job: Job, emit: Emit) -> Done:
        return await self._counted(infer, job, echoed(emit, infer.n))

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

    async def _counted(self, infer: Infer, job: Job, emit: Emit) -> Done:
        """Run it, and tell the metrics how it went."""
        clocked = _Clocked(emit, self._metrics)
        outcome = Cancelled.code
        try:
            done = await self._within_deadline(infer, job, clocked)
            outcome = "ok"
            return done
        except RbeeError as exc:
            outcome = exc.code
            raise
        finally:
            self._metrics.ended(clocked.model, outcome)

    async def _within_deadline(self, infer: Infer, job: Job, clocked: _Clocked) -> Done:
        if infer.deadline_ms is None:
            return await self._attempt(infer, job, clocked, None)
        limit_s = infer.deadline_ms / 1_000
        with anyio.move_on_after(limit_s):
            return await self._attempt(infer, job, clocked, time.monotonic() + limit_s)
        raise Late(f"The answer was not complete within {infer.deadline_ms} ms.")

    async def _attempt(self, infer: Infer, job: Job, clocked: _Clocked, ends: float | None) -> Done:
        need = need_of(infer)
        relay = Relay(self._http, infer, job.id, clocked)
        for attempt in range(1, ATTEMPTS + 1):
            async with self._dispatch.lease(need, job.emit, infer.priority) as lease:
                worker = lease.worker
                clocked.model = worker.model
                try:
                    return await relay.run(worker, _left_ms(ends))
                except WorkerGone:
                    self._dispatch.broke(lease)
                    if relay.tokens or attempt == ATTEMPTS:
                        raise
        raise AssertionError("the last attempt returns or raises")


def need_of(infer: Infer) -> Need:
    """What a request asks of the fleet."""
    contents = [message.content for message in infer.messages or ()]
    sees = any(isinstance(p, ImagePart) for c in contents if isinstance(c, list) for p in c)
    return Need(
        infer.model,
        infer.hive_id,
        infer.worker_id,
        infer.device,
        infer.lora,
        sees,
        generates=True,
    )


class _Clocked:
    """An `Emit` that measures the time to the first token."""

    def __init__(self, emit: Emit, metrics: Metrics) -> None:
        self._emit = emit
        self._metrics = metrics
        self._began = time.monotonic()
        self._waiting = True
        self.model = ""

    def __call__(self, events: Sequence[AnyEvent]) -> None:
        if self._waiting and any(isinstance(event, Token) for event in events):
            self._waiting = False
            self._metrics.first_token(self.model, time.monotonic() - self._began)
        self._emit(events)


def _left_ms(ends: float | None) -> int | None:
    return None if ends is None else max(1, int((ends - time.monotonic()) * 1_000))


def moved(emit: Emit, first: int) -> Emit:
    """`emit` for a prompt whose choices begin at number `first`."""

    def emit_moved(events: Sequence[AnyEvent]) -> None:
        for event in events:
            if isinstance(event, Token):
                event.choice += first
        emit(events)

    return emit_moved


def echoed(emit: Emit, n: int) -> Emit:
    """`emit` with the prompt as the first text of each choice."""

    def emit_echoed(events: Sequence[AnyEvent]) -> None:
        told: list[AnyEvent] = []
        for event in events:
            if isinstance(event, Prompt):
                told += [_prompt_of(event, choice) for choice in range(n)]
            else:
                told.append(event)
        emit(told)

    return emit_echoed


def _prompt_of(event: Prompt, choice: int) -> Token:
    """It holds no new tokens: `token_ids` are the completion's alone."""
    return Token(index=0, text=event.text, token_ids=[], choice=choice, logprobs=event.logprobs)


def joined(ends: Sequence[tuple[Done, int]]) -> Done:
    """One end for several prompts, each with how many choices it had."""
    reasons = [reason_of(done, i) for done, n in ends for i in range(n)]
    stops = [d.stops[i] if i < len(d.stops) else None for d, n in ends for i in range(n)]
    last = ends[-1][0]
    return Done(
        finish_reason=reasons[0],
        finish_reasons=reasons,
        stops=stops if any(stops) else [],
        usage=Usage(
            sum(d.usage.prompt_tokens for d, _ in ends),
            sum(d.usage.completion_tokens for d, _ in ends),
            sum(d.usage.cached_tokens for d, _ in ends),
            sum(d.usage.reasoning_tokens for d, _ in ends),
        ),
        timings=last.timings,
        worker_id=last.worker_id,
        model=last.model,
        sha256=last.sha256,
    )


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
