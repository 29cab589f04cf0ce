"""One answer being written: a row of logits in, an update out. Knows no thread and no slot.

Everything here follows from the request and the tokens so far, so that another worker can go on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rbee.contracts.events import FinishReason, Logprob, Prompt
from rbee.errors import RbeeError
from rbee.worker.engine.backend import Row, Rows, Vocabulary
from rbee.worker.engine.constraint import Constraint
from rbee.worker.engine.draft import Lookup
from rbee.worker.engine.sampling import Sampler, logprobs_of
from rbee.worker.engine.sequence import Sequence as Line
from rbee.worker.engine.text import Assembler


@dataclass(slots=True)
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
    prompt: Prompt | None = None
    """The prompt with its score, once, when that was asked for."""
    cached: int = 0
    """Tokens of the prompt that had been computed before."""
    stop: str | None = None
    """The stop string that ended it."""


@dataclass(eq=False)
class Writer:
    """Samples, makes text of it, and sees when the answer is complete."""

    line: Line
    sampler: Sampler
    assembler: Assembler
    vocabulary: Vocabulary
    context: int
    constraint: Constraint | None = None
    top_logprobs: int | None = None
    banned: NDArray[np.int64] | None = None
    """Tokens that may never come."""
    lookup: Lookup | None = None
    """Makes drafts, when the worker speculates."""
    scores: list[Logprob] = field(default_factory=list)
    """Of the prompt's tokens so far, when it is scored."""

    def take(self, start: int, rows: Rows) -> Update | None:
        """What becomes of the rows of a chunk that began at `start`; None while a prompt that is
        scored goes on."""
        line, update = self.line, self._update()
        if line.scored and not line.answer:
            self._score(start, rows)
            if line.pending > 0:
                return None
            update.prompt = self._scored()
            if line.limit == 0:
                update.finish = "length"
                return update
            rows = rows[-1:]
        self._write(rows, update)
        return update

    def _score(self, start: int, rows: Rows) -> None:
        """Each row says how likely the prompt's next token was; the first token has none before."""
        prompt = self.line.prompt
        if not self.scores:
            piece = self.vocabulary.piece(prompt[0])
            spelled = piece.decode("utf-8", "replace")
            self.scores.append(Logprob(prompt[0], spelled, None, list(piece)))
        for position, row in enumerate(rows, start + 1):
            if position == len(self.scores) < len(prompt):  # else known from before a preemption
                top = self.top_logprobs or 0
                self.scores.append(logprobs_of(row, prompt[position], top, self.vocabulary))

    def _scored(self) -> Prompt:
        ids = list(self.line.prompt)
        text = b"".join(self.vocabulary.piece(i) for i in ids).decode("utf-8", "replace")
        return Prompt(text=text, token_ids=ids, logprobs=self.scores)

    def _write(self, rows: Rows, update: Update) -> None:
        """One token for the first row, and one more for each draft token that came true."""
        draft = self.line.draft[: len(rows) - 1]
        for number, row in enumerate(rows):
            token = self._next(row, update)
            if update.finish or update.error:
                break
            if number < len(draft) and token != draft[number]:
                break
        if self.lookup is not None and not update.finish:
            self.line.draft = self.lookup.draft(self.line.known)
        if update.finish:
            update.text += self.assembler.finish()
            update.stop = self.assembler.stop

    def _next(self, row: Row, update: Update) -> int:
        line = self.line
        raw = row.copy() if self.top_logprobs is not None else row
        if self.banned is not None:
            row[self.banned] = -np.inf
        if self.constraint is not None:
            self.constraint.apply(row)
        token = self.sampler.pick(row, line.answer)
        if self.constraint is not None:
            self.constraint.accept(token)
            if self.constraint.failure:
                update.error = _failed(self.constraint.failure)
                return token
        if self.vocabulary.is_end(token):
            update.finish = "stop"
            return token
        line.answer.append(token)
        update.tokens.append(token)
        update.text += self.assembler.feed(self.vocabulary.piece(token))
        if self.top_logprobs is not None:
            found = logprobs_of(raw, token, self.top_logprobs, self.vocabulary)
            update.logprobs = [*(update.logprobs or ()), found]
        update.finish = self._finish()
        return token

    def _finish(self) -> FinishReason | None:
        if self.assembler.stopped or (self.constraint is not None and self.constraint.complete):
            return "stop"
        line = self.line
        full = line.length >= self.context or len(line.answer) >= line.limit
        return "length" if full else None

    def _update(self) -> Update:
        return Update(self.line.request, self.line.choice, cached=self.line.cached_tokens)


def _failed(why: str) -> RbeeError:
    return RbeeError(f"The engine could not go on with this request: {why}.")
