"""Workers as they truly are: whether they live, and what they have written of which answer.

A request's prompt is its number, so that a worker knows what there is to say, and sees at once
when it is told to go on behind something else. It writes when it is told to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rbee.contracts.events import AnyEvent, Done, Prompt, Token
from rbee.contracts.fleet import WorkerBeat
from rbee.contracts.operations import Infer
from rbee.contracts.worker_api import Begun, Generate, Written
from rbee.errors import Cancelled, RbeeError, WorkerGone
from rbee.queen.fleet import Seat
from rbee.wire.eventlog import EventLog
from rbee.wire.problems import failed
from tests.queen.fleets import worker

SLOTS = 3
SHA = "aa"
PROMPT_IDS = [7, 8]
Shape = Sequence[tuple[int, int]]
"""What is written in one step: choices, and how many tokens of each."""


def asked_for(number: int, length: int, n: int, echo: bool, deadline_ms: int | None) -> Infer:
    return Infer(
        model="bee",
        prompt=str(number),
        max_tokens=length,
        n=n,
        echo=echo,
        seed=1,
        deadline_ms=deadline_ms,
    )


def ids_of(infer: Infer, choice: int) -> list[int]:
    """All that there is to say in a choice."""
    first = (int(str(infer.prompt)) * 4 + choice) * 100
    return list(range(first, first + (infer.max_tokens or 0)))


def text_of(token_ids: Sequence[int]) -> str:
    return "".join(f"<{token_id}>" for token_id in token_ids)


def said(events: Sequence[AnyEvent], choice: int) -> list[int]:
    """The ids that a choice has said; raises where one is said twice, or left out."""
    found: list[int] = []
    for event in events:
        if isinstance(event, Token) and event.choice == choice:
            assert event.index == len(found), f"token {event.index} where {len(found)} was due"
            assert event.text == text_of(event.token_ids)
            found += event.token_ids
    return found


class Answer:
    """What a worker has of one answer: all of its log, and who reads it."""

    def __init__(self, asked: Generate) -> None:
        infer, resume = asked.infer, asked.resume
        self.infer = infer
        self.grace_s = asked.orphan_grace_s
        self.log = EventLog(first=resume.first if resume else 0)
        self.log.append(*(resume.events if resume else ()))
        self.start = self.log.total
        self.prompted = resume.prompted if resume else False
        self.migrations, self.tries = resume.migrations if resume else 0, asked.tries
        self.readers = 0
        self.leavings = 0
        written = resume.written if resume else [Written() for _ in range(infer.n)]
        for choice, known in enumerate(written):
            told = known.token_ids
            assert told == ids_of(infer, choice)[: len(told)], "it shall go on behind what is wrong"
            if self.log.first == 0:
                assert told == said(list(self.log.since(0)), choice), "its log says otherwise"
        assert not resume or resume.prompt_ids in (None, PROMPT_IDS)
        self._written = [len(known.token_ids) for known in written]

    def begun(self, worker_id: str, number: int, *, whole: bool) -> Begun:
        later = list(self.log.since(number)) if whole else []
        return Begun(
            worker_id=worker_id,
            sha256=SHA,
            infer=self.infer if whole else None,
            prompt_ids=PROMPT_IDS,
            written=[self._before(later, c) for c in range(self.infer.n)] if whole else [],
            first=number,
            migrations=self.migrations,
            tries=self.tries,
        )

    def _before(self, later: Sequence[AnyEvent], choice: int) -> Written:
        behind = sum(len(e.token_ids) for e in later if isinstance(e, Token) and e.choice == choice)
        length = self._written[choice] - behind
        whole = length == self.infer.max_tokens
        return Written(ids_of(self.infer, choice)[:length], "length" if whole else None)

    def write(self, shape: Shape) -> None:
        """One step. The answer ends when all has been said."""
        if self.log.ended:
            return
        if self.infer.echo and not self.prompted:
            self.prompted = True
            self.log.append(Prompt(text=str(self.infer.prompt), token_ids=PROMPT_IDS))
        for choice, count in shape:
            self._say(choice % self.infer.n, count)
        if self._written == [self.infer.max_tokens] * self.infer.n:
            self.log.append(Done(finish_reason="length", migrations=self.migrations))

    def _say(self, choice: int, count: int) -> None:
        everything, begins = ids_of(self.infer, choice), self._written[choice]
        ids = everything[begins : begins + count]
        if ids:
            self._written[choice] += len(ids)
            finish = "length" if self._written[choice] == len(everything) else None
            self.log.append(
                Token(index=begins, text=text_of(ids), token_ids=ids, choice=choice, finish=finish)  # type: ignore[arg-type]
            )

    def finish(self) -> None:
        self.write([(choice, self.infer.max_tokens or 0) for choice in range(self.infer.n)])

    def lie(self) -> None:
        """Say the last token again."""
        tokens = [e for e in self.log.since(self.log.first) if isinstance(e, Token)]
        if tokens and not self.log.ended:
            self.log.append(tokens[-1])


@dataclass(eq=False)
class Worker:
    name: str
    later: Callable[[float, Callable[[], None]], object]
    """Calls back after so many seconds."""
    life: int = 0
    step: int = 0
    alive: bool = False
    wedged: bool = False
    """Its engine gets no further."""
    draining: bool = False
    full: bool = False
    """It has no room for anybody, whatever the queen thinks."""
    answers: dict[str, Answer] = field(default_factory=dict)
    stirred: Callable[[], None] = lambda: None
    """Called when there is something to read, or will never be."""

    def __repr__(self) -> str:
        return f"<Worker {self.name} life {self.life} {list(self.answers)}>"

    @property
    def url(self) -> str:
        return f"http://{self.name}-{self.life}:1"

    @property
    def seat(self) -> Seat:
        return self.name, str(self.life)

    def begin(self) -> None:
        self.life += 1
        self.alive, self.wedged, self.draining, self.full = True, False, False, False
        self.answers = {}

    def crash(self) -> None:
        self.alive = False
        self.stirred()

    def leave(self) -> None:
        """It has drained for long enough: the rest is told that it ends."""
        for job_id in list(self.answers):
            self.end(job_id, WorkerGone("The worker stops."))
        self.alive = False
        self.stirred()

    def beat(self, seq: int, state: str = "") -> WorkerBeat:
        self.step += not self.wedged
        running = [job for job, answer in self.answers.items() if not answer.log.ended]
        return worker(
            self.name,
            str(self.life),
            seq,
            url=self.url,
            slots=SLOTS,
            sha256=SHA,
            state=state or ("draining" if self.draining else "ready"),
            step=self.step,
            step_limit_s=2.0,
            step_age_s=3.0 if self.wedged else 0.0,
            jobs=running,
            kept=[job for job in self.answers if job not in running],
        )

    def take(self, asked: Generate) -> Answer:
        """A new answer; one of the same job is an earlier life of it."""
        self.end(asked.job_id, Cancelled("The job was cancelled."))
        answer = self.answers[asked.job_id] = Answer(asked)
        return answer

    def end(self, job_id: str, error: RbeeError) -> None:
        answer = self.answers.pop(job_id, None)
        if answer is not None:
            answer.log.append(failed(error))
            self.stirred()

    def attach(self, answer: Answer) -> None:
        answer.readers += 1

    def release(self, job_id: str, answer: Answer) -> None:
        """A reader left. Without any the answer goes on for its grace."""
        answer.readers -= 1
        answer.leavings += 1
        leaving = answer.leavings

        def orphaned() -> None:
            kept = self.answers.get(job_id) is answer
            if kept and answer.readers == 0 and answer.leavings == leaving:
                self.end(job_id, Cancelled("The job was cancelled."))

        if answer.readers == 0:
            self.later(answer.grace_s, orphaned)
