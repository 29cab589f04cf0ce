"""An answer that another worker has begun: what that one knew, found anew from the ids it told.

Everything that follows a token is a function of the request and of the tokens before it (text, stop
strings, tool calls, reasoning, the grammar's state), so it is enough to go over them again without
saying anything. Pure; runs outside the event loop, for a long answer takes a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rbee.contracts.events import FinishReason
from rbee.contracts.worker_api import Written
from rbee.errors import BadRequest
from rbee.worker.engine.backend import Vocabulary
from rbee.worker.engine.constraint import Constraint
from rbee.worker.engine.text import Assembler
from rbee.worker.prepare import Prepared
from rbee.worker.reading import AnswerReader


@dataclass
class Replayed:
    """One choice, behind what was said of it; with nothing said, at its beginning."""

    assembler: Assembler
    reader: AnswerReader
    constraint: Constraint | None
    ids: list[int]
    thought: int = 0
    """How many of the ids were spent on reasoning."""
    finish: FinishReason | None = None
    """Nothing is left to be said."""
    stop: str | None = None


def replayed(
    prepared: Prepared,
    stops: Sequence[str],
    written: Sequence[Written],
    vocabulary: Vocabulary,
    context: int,
) -> list[Replayed]:
    """Every choice as it stood. Raises `BadRequest` for ids that this model cannot have said."""
    found = []
    for number, said in enumerate(written):
        first = prepared.constraint
        constraint = first.fresh() if first is not None and number else first
        choice = Replayed(Assembler(stops), prepared.reading.reader(), constraint, [])
        for token in said.token_ids:
            _say(choice, token, vocabulary, f"$.resume.written[{number}]")
        choice.finish, choice.stop = said.finish, said.stop
        if said.finish is None:
            choice.finish = _finish(choice, prepared, context)
            choice.stop = choice.assembler.stop
        found.append(choice)
    return found


def _say(choice: Replayed, token: int, vocabulary: Vocabulary, where: str) -> None:
    if token >= vocabulary.size or vocabulary.is_end(token):
        raise BadRequest(f"Token {token} is none of an answer of this model.", path=where)
    choice.ids.append(token)
    if choice.constraint is not None:
        choice.constraint.accept(token)
        if choice.constraint.failure:
            raise BadRequest(f"The tokens do not fit: {choice.constraint.failure}.", path=where)
    choice.reader.feed(choice.assembler.feed(vocabulary.piece(token)))
    choice.thought += choice.reader.thinking


def _finish(choice: Replayed, prepared: Prepared, context: int) -> FinishReason | None:
    """Why nothing can follow, where the first worker had no time to say so."""
    if choice.reader.complete:
        return "tool_calls"
    complete = choice.constraint is not None and choice.constraint.complete
    if choice.ids and (choice.assembler.stopped or complete):
        return "stop"
    full = len(prepared.prompt) + len(choice.ids) >= context
    return "length" if choice.ids and (full or len(choice.ids) >= prepared.limit) else None
