"""Why a worker ended, in words for whoever asked for it. Pure.

What the worker said of itself comes first, with the cause its log names; what it did not say is
told from its exit code and its last lines.
"""

from __future__ import annotations

from rbee.errors import RbeeError, SpawnFailed, from_code
from rbee.hive.launch import understand
from rbee.hive.tail import Tail


def explained(said: RbeeError | None, tail: Tail) -> RbeeError | None:
    """The worker's own word, with the first error of its log where that adds something."""
    cause = tail.first_error()
    if said is None or not cause or cause in said.message:
        return said
    message = f"{said.message} Its log says: {cause}"
    return from_code(said.code, message, hint=said.hint, path=said.path)


def late(limit_s: float, tail: Tail) -> SpawnFailed:
    """It was given up before it could serve."""
    return SpawnFailed(f"The worker did not load its model within {limit_s:g} s.{_words(tail)}")


def died(code: int | None, served: bool, tail: Tail) -> SpawnFailed:
    """It ended without a word of its own."""
    when = "while it served" if served else "before it could serve"
    return SpawnFailed(f"The worker {how_it_ended(code)} {when}.{_words(tail)}")


def killed(why: str, tail: Tail) -> SpawnFailed:
    """It served, and no longer got on."""
    return SpawnFailed(f"The worker was killed: {why}.{_words(tail)}")


def how_it_ended(code: int | None) -> str:
    """An exit code in words."""
    if code is None:
        return "ended"
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _words(tail: Tail) -> str:
    words = tail.last(words=_is_said_to_people)
    return f" Its last words: {words}" if words else " It said nothing."


def _is_said_to_people(line: str) -> bool:
    """What a worker tells its hive, such as how far it has loaded, explains no end."""
    return understand(line) is None
