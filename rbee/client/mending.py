"""What to do when a request does not get on: ask again, attach to its job, or give up. Pure.

1. Who was refused (nobody listens, or takes new work) has begun nothing, and asks again. Somebody
   who was never met is not waited for, unless there are others to try.
2. A request that may have arrived is not sent again blindly: its job is attached to, by the id that
   the client gave it. Only when the queens go on not to know it, for longer than their fleet takes
   to tell them, has it never begun.
3. Once something of the answer was read, it is attached to and never asked for anew.
4. Every queen is tried before a pause, but where a stream broke its own queen comes first, for she
   has the job. Pauses double, with jitter. All ends `patience_s` after the trouble began.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

PAUSE_S, MAX_PAUSE_S = 0.1, 2.0
LEARN_S = 5.0
"""After so long a queen has heard of every job of her fleet: two heartbeats."""
_DOUBLINGS = 10

Trouble = Literal["refused", "broke", "unknown"]
"""How a try ended: nothing of it began; it broke off, begun or not; no such job is known there."""


@dataclass(frozen=True)
class Stand:
    """How far a request is, as far as that decides what comes next."""

    queens: int = 1
    met: bool = False
    """Somebody answered there once."""
    sent: bool = False
    """It may have arrived."""
    spoken: bool = False
    """Something of the answer was read: more than a wait."""
    since: float | None = None
    """When the trouble began."""
    unknown_since: float | None = None
    tried: int = 1
    """Queens tried since the last pause."""
    pauses: int = 0

    def answered(self) -> Stand:
        return replace(self, met=True)

    def opened(self) -> Stand:
        """Its stream began."""
        return replace(self, met=True, sent=True)

    def spoke(self) -> Stand:
        return replace(self, spoken=True)

    def sound(self) -> Stand:
        """A stream got on: whatever comes now is a trouble of its own."""
        return replace(self, since=None, unknown_since=None, tried=1, pauses=0)


@dataclass(frozen=True)
class Ask:
    """Send the request (again), after `wait_s`; `onwards`: to the next queen."""

    wait_s: float
    onwards: bool


@dataclass(frozen=True)
class Attach:
    """Attach to the job from the cursor on."""

    wait_s: float
    onwards: bool


@dataclass(frozen=True)
class GiveUp:
    """It has been tried for long enough, or it is not to be waited for."""


Step = Ask | Attach | GiveUp


def after(
    stand: Stand, trouble: Trouble, now: float, patience_s: float, chance: float
) -> tuple[Stand, Step]:
    """The next step, and where the request then stands; `chance` (0 to 1) is the jitter's."""
    since = now if stand.since is None else stand.since
    left_s = patience_s - (now - since)
    waited_for = stand.met or stand.queens > 1
    if left_s <= 0 or (trouble == "refused" and not waited_for):
        return stand, GiveUp()
    unknown_since = _unknown_since(stand, trouble, now)
    sent = stand.sent or trouble != "refused"
    anew = not sent
    if trouble == "unknown" and unknown_since is not None and not stand.spoken:
        unsure_s = unknown_since + learn_s(patience_s) - now
        anew, left_s = unsure_s <= 0, min(left_s, unsure_s) if unsure_s > 0 else left_s
    stays = trouble == "broke" and stand.since is None
    turns = not stays and stand.tried < stand.queens
    then = replace(
        stand,
        sent=sent,
        since=since,
        unknown_since=None if anew else unknown_since,
        tried=stand.tried + 1 if turns else 1,
        pauses=stand.pauses if turns else stand.pauses + 1,
    )
    wait_s = 0.0 if turns else min(pause_s(stand.pauses, chance), left_s)
    onwards = not stays and stand.queens > 1
    return then, Ask(wait_s, onwards) if anew else Attach(wait_s, onwards)


def pause_s(pauses: int, chance: float) -> float:
    """The pause after so many."""
    full = PAUSE_S * 2.0 ** min(pauses, _DOUBLINGS)
    return min(full, MAX_PAUSE_S) * (0.5 + chance / 2)


def learn_s(patience_s: float) -> float:
    """How long a job is looked for that nobody knows, before it counts as never begun."""
    return min(LEARN_S, patience_s / 2)


def _unknown_since(stand: Stand, trouble: Trouble, now: float) -> float | None:
    """A lone queen who was away may have been started anew: she learns from the beginning."""
    if trouble != "unknown":
        return stand.unknown_since if stand.queens > 1 else None
    return now if stand.unknown_since is None else stand.unknown_since
