"""Events folded into a whole answer: the one place that knows how, for queen, worker and client.

Pure; fed while the events arrive.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rbee.contracts.answers import Choice, InferAnswer, Prompted
from rbee.contracts.chat import ToolCall
from rbee.contracts.events import AnyEvent, Done, FinishReason, Logprob, Prompt, Token


@dataclass
class _Parts:
    texts: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    logprobs: list[Logprob] | None = None
    calls: list[ToolCall] | None = None
    thoughts: list[str] = field(default_factory=list)

    def add(self, token: Token) -> None:
        self.texts.append(token.text)
        self.ids.extend(token.token_ids)
        if token.logprobs is not None:
            self.logprobs = [*(self.logprobs or ()), *token.logprobs]
        if token.tool_calls is not None:
            self.calls = [*(self.calls or ()), *token.tool_calls]
        if token.reasoning:
            self.thoughts.append(token.reasoning)


class Fold:
    """Collects tokens by choice; `answer` once `Done` has come."""

    def __init__(self, choices: int = 1) -> None:
        self._parts: dict[int, _Parts] = {i: _Parts() for i in range(choices)}
        self._prompt: Prompted | None = None

    def add(self, events: Iterable[AnyEvent]) -> None:
        for event in events:
            if isinstance(event, Token):
                self._parts.setdefault(event.choice, _Parts()).add(event)
            elif isinstance(event, Prompt):
                self._prompt = Prompted(event.text, event.token_ids, event.logprobs)

    def text(self, choice: int = 0) -> str:
        """What a choice says so far."""
        parts = self._parts.get(choice)
        return "".join(parts.texts) if parts else ""

    def answer(self, job_id: str, done: Done) -> InferAnswer:
        for choice in range(len(done.finish_reasons)):
            self._parts.setdefault(choice, _Parts())  # one that said nothing is a choice, too
        return InferAnswer(
            job_id=job_id,
            model=done.model,
            sha256=done.sha256,
            worker_id=done.worker_id,
            choices=[_choice(i, p, done) for i, p in sorted(self._parts.items())],
            usage=done.usage,
            timings=done.timings,
            prompt=self._prompt,
            migrations=done.migrations,
        )


def _choice(index: int, parts: _Parts, done: Done) -> Choice:
    return Choice(
        index=index,
        text="".join(parts.texts),
        finish_reason=reason_of(done, index),
        token_ids=parts.ids,
        logprobs=parts.logprobs,
        tool_calls=parts.calls,
        reasoning="".join(parts.thoughts),
        stop=done.stops[index] if index < len(done.stops) else None,
    )


def reason_of(done: Done, choice: int) -> FinishReason:
    """Why this choice ended; the common reason where the event has none of its own for it."""
    reasons = done.finish_reasons
    return reasons[choice] if choice < len(reasons) else done.finish_reason
