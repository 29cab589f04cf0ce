"""One answer, passed on from whichever workers write it. Knows nothing of queues: it is handed a
leased worker.

1. Whatever breaks the stream is `WorkerGone`: a refused connection, a reset, silence, an end
   without `done`. What the worker itself says (its error answer, its `failed` event) is raised.
2. What the next worker needs to go on is kept here: the prompt's ids, and what each choice has
   said. A token that is not the next one is never passed on.
3. A connection that broke to a worker that still answers is made again: nothing is computed anew.
4. What this queen says herself, once a worker has been asked, is held back until the next one has
   it: else she would have numbered what no worker knows, and could not die without a loss.

It is long because passing on, holding back and going on share all of one answer's state.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import anyio.lowlevel
import msgspec

from rbee.contracts.events import AnyEvent, Done, Failed, Moved, Prompt, Token
from rbee.contracts.fleet import WorkerBeat
from rbee.contracts.limits import MAX_DEADLINE_MS
from rbee.contracts.operations import Infer
from rbee.contracts.worker_api import (
    MAX_RESUME_EVENTS,
    Begun,
    Generate,
    Resume,
    WorkerEvent,
    Written,
)
from rbee.errors import (
    Draining,
    Gone,
    Late,
    NotFound,
    RbeeError,
    Unavailable,
    Upstream,
    WorkerGone,
)
from rbee.wire.eventlog import EventLog
from rbee.wire.http import CONNECT_S, Http
from rbee.wire.problems import from_failed

DEADLINE_SLACK_MS = 500
"""The queen keeps the deadline herself; the worker is told a little more, as a safety net."""
REATTACH_S = 1.0
"""How long a worker whose connection broke is given to take another."""
CANCEL_S = 2.0
PAUSE_S = 40.0
"""How long nothing is read from a worker, at most, when those who read from us are slow: it cuts
who takes nothing for a minute."""
Emit = Callable[[Sequence[AnyEvent]], None]


class Relay:
    """Streams `infer` from one worker after the other, until one has said `done`.

    `log` is the job's own; when its readers are far behind, nothing more is read from the worker.
    Where the answer is all that is in it (`whole`), it is the worker's log too, number by number,
    and outlives this queen by `grace_s`.
    """

    def __init__(
        self,
        http: Http,
        infer: Infer,
        job_id: str,
        emit: Emit,
        log: EventLog,
        *,
        whole: bool = True,
        grace_s: float = 0.0,
    ) -> None:
        self._http = http
        self._infer = _seeded(infer)
        self._job_id = job_id
        self._emit = emit
        self._read = log
        self._log = log if whole else None
        self._grace_s = grace_s if whole else 0.0
        self._written = [Written() for _ in range(infer.n)]
        self._prompt_ids: list[int] | None = None
        self._prompted = False
        self._held: list[AnyEvent] = []
        """What the readers are told when the next worker has it."""
        self.tries = 0
        """Workers that were asked so far."""
        self._heard: Callable[[], None] | None = None
        self._trial = False
        self.reached = False
        """Whether the present worker has, for certain, had the request."""
        self.parted = False
        """Whether the present worker has said that it ends: it did not die of the request."""
        self.migrations = 0
        self.sha256 = ""
        """Of the model that has begun to answer."""
        self.model = ""
        """Its name."""

    def __repr__(self) -> str:
        return f"<Relay {self._job_id} {self.tokens} tokens, {self.migrations} migrations>"

    @property
    def tokens(self) -> int:
        """Passed on so far, from whichever worker."""
        return sum(len(choice.token_ids) for choice in self._written)

    @property
    def begun(self) -> bool:
        """Whether anything was said, so that another worker must go on and not begin."""
        return self._prompted or any(c.token_ids or c.finish for c in self._written)

    @property
    def length(self) -> int:
        """Tokens that a worker which goes on must have room for, as far as known."""
        return len(self._prompt_ids or ()) + max(len(c.token_ids) for c in self._written)

    def take_over(self, begun: Begun) -> None:
        """Another queen had asked for this answer, and passed on what was said so far."""
        self._written = begun.written or self._written
        self._prompt_ids, self.sha256 = begun.prompt_ids, begun.sha256
        self._prompted = self._infer.echo and begun.first > 0
        self.migrations, self.tries = begun.migrations, begun.tries

    def meet(self, worker: WorkerBeat, heard: Callable[[], None], *, trial: bool = False) -> None:
        """Who will write next; `heard` is called at his first words."""
        self.model, self._heard = worker.model, heard
        self._trial, self.reached, self.parted = trial, False, False
        if not self.begun:
            self.sha256 = worker.sha256

    def report(self, event: AnyEvent) -> None:
        """Tell the readers how their answer fares, as soon as that can be said for good."""
        if self._log is None or not self.tries:
            self._emit([event])
            return
        if self._held and type(event) is type(self._held[-1]) and not isinstance(event, Moved):
            self._held.pop()  # of a wait only the last word counts
        self._held.append(event)

    async def run(self, worker: WorkerBeat, deadline_ms: int | None) -> Done:
        """Ask the worker to write, or to go on; emit its events as they come, batch by batch.
        Returns the last, unemitted."""
        self.tries += 1
        body = self._asked(worker, deadline_ms)
        return await self._see_through(worker, "POST", f"{worker.url}/v1/answers", body)

    async def attach(self, worker: WorkerBeat) -> Done:
        """The same of an answer that this worker is writing already."""
        return await self._see_through(worker, "GET", self._place(worker), None)

    async def cancel(self, worker: WorkerBeat, *, unread: bool = False) -> None:
        """Nobody wants the answer any more; a stream that merely ends could be a queen's death.
        `unread`: nobody here does, and it ends unless somebody reads it through another queen."""
        if self._grace_s:
            with anyio.move_on_after(CANCEL_S, shield=True):
                await cancel(self._http, worker, self._job_id, unread=unread)

    async def _see_through(self, worker: WorkerBeat, method: str, url: str, body: Any) -> Done:
        while True:
            before = self.tokens
            try:
                last = await self._pass_on(method, url, body)
            except RbeeError as exc:
                if isinstance(exc, Draining) or not (broke(exc) or _lacks_it(exc, method)):
                    raise
                if not self._may_be_there(exc, before):
                    raise gone(worker, exc.message) from exc
                method, url, body = "GET", self._place(worker), None
                continue
            if isinstance(last, Failed):
                self.parted = last.code == WorkerGone.code
                raise from_failed(last)
            if last is None:
                raise gone(worker, "It ended its answer without saying why.")
            last.migrations = self.migrations
            return last

    def _may_be_there(self, exc: RbeeError, before: int) -> bool:
        """Whether only the connection broke: something came over it, and the server answers."""
        cut = isinstance(exc, Upstream) and not isinstance(exc, WorkerGone)
        return bool(self._grace_s) and cut and self.tokens > before

    async def _pass_on(self, method: str, url: str, body: Any) -> Done | Failed | None:
        waiting = REATTACH_S if method == "GET" else CONNECT_S
        async with self._http.events(
            method,
            url,
            body,
            kind=WorkerEvent,
            connect_s=waiting,
        ) as stream:
            async for events in stream:
                if isinstance(events[0], Begun):
                    self._learn(events.pop(0))
                if not events:
                    continue
                last = events[-1]
                if isinstance(last, Done | Failed):
                    self._out(events[:-1])
                    return last
                self._out(events)
                await anyio.lowlevel.checkpoint_if_cancelled()  # reading what is there never waits
                if self._read.lagging:  # and yet a little is read, or the worker would cut us
                    with anyio.move_on_after(PAUSE_S):
                        await self._read.caught_up()
        return None

    def _learn(self, begun: Begun) -> None:
        self.reached = True
        self._prompt_ids = begun.prompt_ids
        self.sha256 = begun.sha256 or self.sha256
        held, self._held = self._held, []
        if held:
            self._emit(held)

    def _out(self, events: Sequence[AnyEvent]) -> None:
        for event in events:
            if isinstance(event, Token):
                self._note(event)
                if self._heard is not None:
                    self._heard()
                    self._heard = None
            elif isinstance(event, Prompt):
                self._prompted = True
        if events:
            self._emit(events)

    def _note(self, token: Token) -> None:
        """Raises for a token that is not the next one: no worker of ours says such a thing, and to
        ask another would not mend it."""
        said = self._written[token.choice]
        if token.index != len(said.token_ids):
            raise RbeeError(
                f"The worker went on with token {token.index}, and {len(said.token_ids)} was due."
            )
        said.token_ids += token.token_ids
        said.finish, said.stop = token.finish, token.stop

    def _asked(self, worker: WorkerBeat, deadline_ms: int | None) -> Generate:
        """The request as the worker shall read it: its own model's name, and no wishes that are
        fulfilled by its having been chosen."""
        wishes: dict[str, Any] = {"hive_id": None, "worker_id": None, "device": None}
        limit = None
        if deadline_ms is not None:
            limit = min(deadline_ms + DEADLINE_SLACK_MS, MAX_DEADLINE_MS)
        return Generate(
            job_id=self._job_id,
            infer=msgspec.structs.replace(
                self._infer,
                model=worker.model,
                deadline_ms=limit,
                priority=0,
                stream=True,
                **wishes,
            ),
            resume=self._resume(),
            orphan_grace_s=self._grace_s,
            trial=self._trial,
            tries=self.tries,
        )

    def _resume(self) -> Resume | None:
        """What a worker needs to go on; None where it begins, and nobody was told anything."""
        log = self._log
        told = [*log.since(log.first), *self._held] if log is not None else []
        if not (self.begun or told):
            return None
        over = max(0, len(told) - MAX_RESUME_EVENTS)
        return Resume(
            written=self._written,
            prompt_ids=self._prompt_ids if self.begun else None,
            first=log.first + over if log is not None else 0,
            events=told[over:],
            prompted=self._prompted,
            migrations=self.migrations,
        )

    def _place(self, worker: WorkerBeat) -> str:
        number = self._log.total if self._log is not None else 0
        return f"{worker.url}/v1/answers/{self._job_id}/stream?from={number}"


def _seeded(infer: Infer) -> Infer:
    """With a seed in any case: whoever goes on draws as the first worker would have."""
    if infer.seed is not None:
        return infer
    return msgspec.structs.replace(infer, seed=secrets.randbits(63))


async def cancel(http: Http, worker: WorkerBeat, job_id: str, *, unread: bool = False) -> None:
    """Tell a worker that an answer is not wanted any more; one that is gone need not be told."""
    url = f"{worker.url}/v1/answers/{job_id}" + ("?unread=true" if unread else "")
    try:
        await http.call("DELETE", url, dict[str, Any])
    except RbeeError:
        return  # its grace ends it


def _lacks_it(exc: RbeeError, method: str) -> bool:
    """A worker that was attached to has no such answer, or not all of it: another life of it."""
    return method == "GET" and isinstance(exc, NotFound | Gone)


def broke(exc: RbeeError) -> bool:
    """Whether the error tells of the worker's death, and not of the request."""
    return isinstance(exc, Unavailable | Late) or type(exc) in (Upstream, WorkerGone)


def gone(worker: WorkerBeat, why: str) -> WorkerGone:
    return WorkerGone(
        f"Worker {worker.id!r} at {worker.url} is gone: {why}",
        hint="ask again: a crashed worker is started anew by its hive",
    )
