"""One streamed answer, however often its stream breaks: what to send next, and what its bytes mean.

No I/O: both clients do what a pursuit says, and tell it what came of it.

1. Events are numbered, and tokens too. Each is given on once, in order; a server that numbers
   otherwise is wrong, and nothing is left out in silence.
2. An `infer` names its job itself, so that it can be looked for when the head of the answer was
   lost, and promises to say when it leaves (`farewell`): a broken stream is not taken for that.
3. An answer that was lost before it said anything is asked for anew, and is numbered anew: who
   waited may be told of waiting twice, and of the answer itself once.
4. Without patience a break is the end: so are a hive's streams read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rbee.client.mending import Ask, Trouble
from rbee.client.queens import NOT_BEGUN, Hunt
from rbee.client.requests import job_path
from rbee.contracts.events import AnyEvent, Done, Failed, Progress, Queued, Token
from rbee.errors import (
    Conflict,
    Draining,
    Invalid,
    JobNotFound,
    Late,
    NotJson,
    RbeeError,
    ServerGone,
    Upstream,
)
from rbee.wire import codec, sse

JOB_HEADER, GRACE_HEADER = "X-Rbee-Job-Id", "X-Rbee-Grace-S"
GRACE_S = 30
"""How long an answer shall go on without us: we say so when we leave on purpose."""
HEAD_S = 5.0
"""A queen answers at once who attaches to a job."""
FAREWELL_S = 2.0
"""How long saying so may take."""
SOUND_S = 5.0
"""A stream that lived for so long was none of the trouble."""


@dataclass(frozen=True)
class Request:
    """What is to be sent; the head of its answer must be there after `head_s`."""

    method: str
    url: str
    body: Any
    headers: Mapping[str, str]
    head_s: float


class Pursuit:
    """How far the reading of one answer is."""

    def __init__(
        self,
        hunt: Hunt,
        body: Any = None,
        *,
        job_id: str = "",
        first: int = 0,
        silence_s: float,
    ) -> None:
        """Without a body it attaches to `job_id`, from event number `first` on."""
        self.job_id = job_id
        self.cursor = first
        """The number of the next event."""
        self.ended = False
        """The last event was read, or none will come."""
        self._hunt = hunt
        self._body = body
        self._silence_s = silence_s
        self._own = bool(job_id) and body is not None
        """We asked for it, by a name that we gave it."""
        self._asked = False
        """It may be running because we asked."""
        self._attaching = body is None
        self._begun = False
        """A stream of it was open once."""
        self._due: dict[int, int] = {}
        """The number of each choice's next token, as far as it is known."""
        self._frames = sse.FrameReader()
        self._opened_at: float | None = None
        """When the present stream began; None without one."""
        self._heard_at = 0.0
        self._brought = False
        """The present stream has brought an event."""

    def __repr__(self) -> str:
        return f"<Pursuit of {self.job_id}, next is {self.cursor}, {self._hunt}>"

    @property
    def server(self) -> str:
        return self._hunt.server

    def request(self) -> Request:
        """What is to be sent now."""
        promise = {JOB_HEADER: self.job_id, GRACE_HEADER: str(GRACE_S)} if self._own else {}
        headers = {"Accept": "text/event-stream", **promise}
        if self._attaching:
            url = self.server + job_path(self.job_id, f"/stream?from={self.cursor}")
            return Request("GET", url, None, headers, min(HEAD_S, self._silence_s))
        self._asked = True
        return Request("POST", f"{self.server}/v1/jobs", self._body, headers, self._silence_s)

    def opened(self, job_id: str, now: float) -> None:
        """A stream begins; the server calls its job `job_id`."""
        self._hunt.answered()
        self._hunt.stand = self._hunt.stand.opened()
        self.job_id = job_id or self.job_id
        self._frames = sse.FrameReader()
        self._opened_at = self._heard_at = now
        self._brought, self._begun, self._attaching = False, True, True

    def read(self, chunk: bytes, now: float) -> Iterator[tuple[bytes, AnyEvent]]:
        """The events that `chunk` completes, as they were sent and as they are understood."""
        self._heard_at = now
        for number, data in self._cut(chunk):
            if data == b"[DONE]":
                continue  # the stream then ends by itself; after `done` or `failed`, or it broke
            if number is not None and number != self.cursor:
                raise Upstream(f"{self.server} sent event {number} where {self.cursor} was due.")
            event = self._understood(data)
            if self._goes_on_elsewhere(event):
                continue
            self._take(event)
            yield data, event
            if self.ended:
                return

    def _goes_on_elsewhere(self, event: AnyEvent) -> bool:
        """A queen who ends leaves what runs to the next one: her last word is hers alone, and her
        stream then breaks."""
        asked_for = self._own or self._body is None
        return asked_for and isinstance(event, Failed) and event.code == Draining.code

    def broke_off(self) -> RbeeError:
        """What is wrong with a stream that ends before the answer does."""
        return Upstream(f"The answer from {self.server} broke off.")

    def broke(self, exc: RbeeError, now: float) -> float:
        """The request or its stream failed on its way: how long to wait before `request` is sent
        again. Raises `exc`, or what it means, when that is all."""
        if isinstance(exc, ServerGone):
            return self._step("refused", exc, now)
        if isinstance(exc, Late) and not self._hunt.stand.met:
            raise exc  # it never said anything to us: it may be no queen at all
        self._hunt.stand = self._hunt.stand.answered()
        return self._step("broke", exc, now)

    def refused(self, exc: RbeeError, now: float) -> float:
        """The server answered an error; otherwise like `broke`."""
        self._hunt.answered()
        if isinstance(exc, NOT_BEGUN):
            return self._step("refused", exc, now)
        if self._attaching and (self._own or self._begun):
            if isinstance(exc, JobNotFound):
                return self._step("unknown", exc, now)
            if exc.status >= 500:
                return self._step("refused", exc, now)
        if isinstance(exc, Conflict) and self._hunt.stand.sent and not self._attaching:
            return self._step("broke", exc, now)  # it had arrived, and is there under its name
        self.ended = True
        raise exc

    def farewell(self) -> str:
        """Where to say that nobody waits for the answer any more; empty when none can be running.
        It is said once."""
        running = self._own and self._asked and not self.ended
        self.ended = True
        return self.server + job_path(self.job_id) if running else ""

    def _step(self, trouble: Trouble, exc: RbeeError, now: float) -> float:
        if self._was_sound():
            self._hunt.stand = self._hunt.stand.sound()
        self._opened_at = None
        self._asked = self._asked and (self._hunt.stand.sent or trouble != "refused")
        try:
            step = self._hunt.step(trouble, exc, now)
        except JobNotFound as lost:
            self.ended = True
            raise Upstream(f"The answer is lost: no queen knows {self.job_id} any more.") from lost
        except RbeeError:
            self.ended = trouble == "refused"
            raise
        self._attaching = not isinstance(step, Ask)
        if not self._attaching:
            self.cursor, self._due = 0, {}
        return step.wait_s

    def _was_sound(self) -> bool:
        """Whether the present stream got on before it broke."""
        if self._opened_at is None:
            return False
        return self._brought or self._heard_at - self._opened_at >= SOUND_S

    def _take(self, event: AnyEvent) -> None:
        if isinstance(event, Token):
            self._follow(event)
        self.cursor += 1
        self._brought = True
        self.ended = isinstance(event, Done | Failed)
        if not (self._hunt.stand.spoken or isinstance(event, Queued | Progress)):
            self._hunt.stand = self._hunt.stand.spoke()

    def _follow(self, token: Token) -> None:
        due = self._due.get(token.choice, token.index)
        if token.index != due and token.token_ids:
            self.ended = True
            raise Upstream(
                f"{self.server} went on with token {token.index}, and {due} was due: a part of the"
                " answer is lost.",
                hint="ask again",
            )
        self._due[token.choice] = token.index + len(token.token_ids)

    def _cut(self, chunk: bytes) -> Iterator[tuple[int | None, bytes]]:
        try:
            yield from self._frames.numbered(chunk)
        except ValueError as exc:
            raise Upstream(f"{self.server} sent {exc}.") from exc

    def _understood(self, data: bytes) -> AnyEvent:
        try:
            found: AnyEvent = codec.decode(data, AnyEvent)
            return found
        except (NotJson, Invalid) as exc:
            raise Upstream(f"{self.server} sent what rbee cannot read: {exc.message}") from exc


def new_job_id() -> str:
    return f"job-{os.urandom(8).hex()}"
