"""Several prompts as one answer, and a prompt as the beginning of one. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rbee.contracts.events import AnyEvent, Done, Prompt, Token, Usage
from rbee.queen.relay import Emit
from rbee.wire.fold import reason_of


def moved(emit: Emit, first: int) -> Emit:
    """`emit` for a prompt whose choices begin at number `first`."""

    def emit_moved(events: Sequence[AnyEvent]) -> None:
        emit([_numbered(event, first) for event in events])

    return emit_moved


def _numbered(event: AnyEvent, first: int) -> AnyEvent:
    """A copy: the event itself is what its worker would be told of."""
    if not isinstance(event, Token) or not first:
        return event
    return msgspec.structs.replace(event, choice=event.choice + first)


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
        migrations=sum(d.migrations for d, _ in ends),
    )
