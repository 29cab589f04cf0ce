"""Jobs: operations that run, are watched, resumed and cancelled. Shared by queen and hive.

1. A job is a task in the server's own group, and its events live in a log: whoever reads them is a
   guest. A crash inside becomes a `failed` event; it never takes the server along.
2. A job asked for plainly belongs to its readers: when the last one leaves it is cancelled, after
   the grace that its client asked for. One asked for with `Prefer: respond-async` runs on.
3. Finished jobs are kept for a while (`keep_s`, at most `keep`, and `KEPT_WEIGHT` of events), so
   that they can be attached to. Those that were refused go first: a flood pushes no answer out.

States: running -> done | failed | cancelled. Nothing leaves an end state.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import TaskGroup

from rbee.contracts.answers import JobState, JobView
from rbee.contracts.events import AnyEvent, Done, Failed, Token
from rbee.errors import Cancelled, Conflict, Draining, JobNotFound, Overloaded, RbeeError
from rbee.wire.codec import plain
from rbee.wire.drain import read_to_the_end
from rbee.wire.eventlog import EventLog
from rbee.wire.replies import failed, from_failed, problem

log = logging.getLogger(__name__)
MAX_RUNNING = 4_096
KEPT_WEIGHT = 20_000
"""Events of all finished jobs together, where each log probability counts like an event: some six
megabytes."""
Run = Callable[["Job"], Awaitable[Any]]
"""The work: emits events, and returns the answer (a struct). When it has not emitted its own
`done`, one carrying the answer is added."""


@dataclass(frozen=True)
class Wanted:
    """How a client wants a job to be run."""

    detached: bool = False
    job_id: str = ""
    """The client's own name for it; empty: it has none."""
    grace_s: float = 0.0
    """How long it goes on without a reader, unless it is detached."""
    first: int = 0
    """The number of its first event, when it was begun elsewhere."""


class Job:
    """One running or finished operation."""

    def __init__(self, wanted: Wanted, operation: str) -> None:
        self.id = wanted.job_id or f"job-{secrets.token_hex(8)}"
        self.operation = operation
        self.detached = wanted.detached
        self.grace_s = wanted.grace_s
        self.log = EventLog(first=wanted.first)
        self.readers = 0
        self.leavings = 0
        """How often the last reader left: the grace counts from the latest."""
        self.answer: Any = None
        self.migrations = 0
        """How often another worker had to go on with it."""
        self.revoked = False
        """Somebody asked for its end; else it may end for want of readers."""
        self.state: JobState = "running"
        self.started = time.monotonic()
        self.ended: float | None = None
        self.weight = 0
        """Of its events, once it has ended."""
        self.scope = anyio.CancelScope()
        self.finished = anyio.Event()

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.operation} {self.state} {self.log.total} events>"

    def emit(self, *events: AnyEvent) -> None:
        self.log.append(*events)

    def cancel(self) -> None:
        """Ask the work to stop; its last event will say `cancelled`. Idempotent."""
        self.scope.cancel()

    @property
    def refused(self) -> bool:
        """It failed before it had said anything."""
        return self.ended is not None and isinstance(self.log.last, Failed) and self.log.total == 1

    @property
    def error(self) -> RbeeError | None:
        last = self.log.last
        return from_failed(last) if isinstance(last, Failed) else None

    def view(self, now: float) -> JobView:
        last = self.log.last
        return JobView(
            job_id=self.id,
            operation=self.operation,
            state=self.state,
            age_s=round(now - self.started, 3),
            events=self.log.total,
            readers=self.readers,
            error=problem(self.error) if self.error else None,
            result=last.result if isinstance(last, Done) else None,
        )


class Jobs:
    """All jobs of one server; the only writer of the table."""

    def __init__(
        self,
        group: TaskGroup,
        *,
        keep: int = 256,
        keep_s: float = 600.0,
    ) -> None:
        self._group = group
        self._keep = keep
        self._keep_s = keep_s
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._closing = False
        self.draining = False

    def __repr__(self) -> str:
        return f"<Jobs {self.running} running of {len(self._jobs)}>"

    @property
    def running(self) -> int:
        return sum(1 for job in self._jobs.values() if job.state == "running")

    def start(self, operation: str, run: Run, wanted: Wanted = Wanted()) -> Job:
        """Begin `run` as a job. Raises `Overloaded` at the bound, `Draining` while shutting down,
        `Conflict` when there is one of that name; one that was refused makes room for another try.
        """
        self._forget_old(time.monotonic())
        if self._closing or self.draining:
            raise Draining("This server finishes what it has, and takes no more.", retry_after_s=2)
        if self.running >= MAX_RUNNING:
            raise Overloaded(f"{MAX_RUNNING} jobs are running already.", retry_after_s=5.0)
        known = self._jobs.get(wanted.job_id)
        if known is not None and not (known.refused and not known.readers):
            raise Conflict(
                f"There is a job {wanted.job_id!r} already.", hint="attach to it, or rename yours"
            )
        job = Job(wanted, operation)
        self._jobs[job.id] = job
        self._group.start_soon(self._work, job, run, name=job.id)
        return job

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._jobs

    def get(self, job_id: str) -> Job:
        found = self._jobs.get(job_id)
        if found is None:
            raise JobNotFound(
                f"No job {job_id[:80]!r} here.", hint=f"jobs are kept for {self._keep_s:.0f} s"
            )
        return found

    def all(self) -> list[Job]:
        self._forget_old(time.monotonic())
        return list(self._jobs.values())

    def attach(self, job: Job) -> None:
        """Count a reader; every `attach` has its `release`."""
        job.readers += 1

    def release(self, job: Job) -> None:
        """A reader left. The last one takes an attached job with it."""
        job.readers -= 1
        if job.readers == 0 and not job.detached and job.state == "running":
            job.leavings += 1
            if job.grace_s:
                self._group.start_soon(self._cancel_if_orphan, job, job.leavings)
            else:
                job.cancel()

    async def _cancel_if_orphan(self, job: Job, leaving: int) -> None:
        with anyio.move_on_after(job.grace_s):
            await job.finished.wait()
        if job.readers == 0 and job.leavings == leaving:
            job.cancel()

    def drain(self) -> None:
        """Take no more; what runs goes on. Idempotent."""
        self.draining = True

    async def drained(self) -> None:
        """Return when nothing runs any more, and who reads along has read it to its end."""
        for job in list(self._jobs.values()):
            await job.finished.wait()
        await read_to_the_end(lambda: [j.log.taken for j in self._jobs.values() if j.readers])

    def close(self) -> None:
        """Cancel everything that runs; streams then end with their `failed` event."""
        self._closing = True
        for job in self._jobs.values():
            job.cancel()

    async def _work(self, job: Job, run: Run) -> None:
        with job.scope:
            await self._run_to_end(job, run)
        if not job.log.ended:
            job.emit(failed(self._why_stopped()))
        job.state = _state_of(job)
        job.ended = time.monotonic()
        job.weight = sum(map(_weight, job.log.since(job.log.first)))
        job.finished.set()

    def _why_stopped(self) -> RbeeError:
        if self._closing:
            return Draining("This server is shutting down.", retry_after_s=2.0)
        return Cancelled("The job was cancelled.")

    async def _run_to_end(self, job: Job, run: Run) -> None:
        try:
            job.answer = await run(job)
            if not job.log.ended:
                job.emit(Done(finish_reason="stop", result=plain(job.answer)))
        except RbeeError as exc:
            job.emit(failed(exc))
        except Exception as exc:
            log.exception("job %s (%s) crashed", job.id, job.operation)
            job.emit(failed(RbeeError(f"{type(exc).__name__} inside rbee; its log tells more.")))

    def _forget_old(self, now: float) -> None:
        over = len(self._jobs) - self.running - self._keep
        heavy = sum(job.weight for job in self._jobs.values()) - self._bearable()
        idle = [j for j in self._jobs.values() if j.ended is not None and j.readers == 0]
        for job in sorted(idle, key=lambda j: not j.refused):
            old = job.ended is not None and now - job.ended > self._keep_s
            if old or over > 0 or heavy > 0:
                del self._jobs[job.id]
                over, heavy = over - 1, heavy - job.weight

    def _bearable(self) -> int:
        """The one that ended last is kept, whatever it weighs: somebody may be about to read it."""
        ended = [job for job in self._jobs.values() if job.ended is not None]
        last = max(ended, key=lambda job: job.ended or 0.0, default=None)
        return max(KEPT_WEIGHT, last.weight if last is not None else 0)


def _weight(event: AnyEvent) -> int:
    scores = event.logprobs if isinstance(event, Token) else None
    return 1 + sum(1 + len(score.top) for score in scores or ())


def _state_of(job: Job) -> JobState:
    last = job.log.last
    if isinstance(last, Failed):
        return "cancelled" if last.code == Cancelled.code else "failed"
    return "done"
