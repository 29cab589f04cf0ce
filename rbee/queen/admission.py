"""Who may join the line, and what those who wait are told of when their turn comes.

1. The line is full: 429, with when it will have room.
2. By the measured rate a slot comes later than a request may wait: 429. It would only fail later.
3. The same for the deadline that the request itself names.
4. While nothing was measured, everybody may join who finds room. So may those who were admitted
   before: what was accepted is not refused for having lost its worker.

Nothing here costs more in a longer line: positions are told only so many a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NoReturn

from rbee.contracts.events import Queued
from rbee.errors import Overloaded
from rbee.queen.line import Lane, Line, Ticket
from rbee.queen.pace import Paces, bounded
from rbee.queen.registry import Registry

RefusedWhy = Literal["full", "slow", "deadline", "poison", "budget"]
"""Why a request is sent away before it has cost anything; the last two are not decided here."""
Refusal = tuple[RefusedWhy, Overloaded]
TELL_S = 0.25
TELLS_PER_S = 1_000


class Admission:
    """The door to `line`."""

    def __init__(
        self, line: Line, registry: Registry, *, queue_limit: int, wait_limit_s: float
    ) -> None:
        self._line = line
        self._registry = registry
        self._limit = queue_limit
        self._wait_limit_s = wait_limit_s
        self._paces = Paces()
        self.refused: Callable[[RefusedWhy], None] = lambda why: None
        """Told of everybody who is sent away."""

    def took(self, model_id: str, seconds: float) -> None:
        """A lease of the model was given back in peace."""
        self._paces[model_id].took(seconds)

    def check(self, ticket: Ticket, busy: bool, deadline_s: float | None, now: float) -> None:
        """Raises `Overloaded`; `busy` when the ticket will wait for a slot, and nothing else."""
        if ticket.need.again:
            return
        model = ticket.need.model
        gap_s = self._gap_s(model, now) if busy else None
        if len(self._line) >= self._limit:
            self._send_away(self._full(model, gap_s, now))
        if gap_s is None:
            return
        lane = self._line.lanes.get(model)
        position = 0 if lane is None else lane.position(ticket)
        late = too_late((position + 1) * gap_s, self._wait_limit_s, deadline_s)
        if late is not None:
            self._send_away(late)

    def _send_away(self, refusal: Refusal) -> NoReturn:
        why, error = refusal
        self.refused(why)
        try:
            raise error
        finally:
            del error, refusal  # else it lives in its own traceback until a garbage collection

    def _full(self, model: str, gap_s: float | None, now: float) -> Refusal:
        pace = self._paces[self._registry.view(now).id_of(model)]
        error = Overloaded(
            f"{self._limit} requests are waiting already.",
            hint="try again later, or start more workers",
            retry_after_s=pace.comes_back_s(gap_s, now),
        )
        return "full", error

    def tell(self, ticket: Ticket, lane: Lane, now: float) -> None:
        """Tell a newcomer its position."""
        self._tell(ticket, lane.position(ticket), self._gap_s(lane.model, now))

    def tell_all(self, now: float) -> None:
        """Tell those who wait for a slot how many are ahead, where that changed."""
        for lane in self._line.lanes.values():
            if now >= lane.tell_at:
                lane.tell_at = now + max(TELL_S, len(lane) / TELLS_PER_S)
                gap_s = self._gap_s(lane.model, now)
                for position, ticket in enumerate(lane):
                    if self._line.queues[ticket.need].why == "busy":
                        self._tell(ticket, position, gap_s)

    def _tell(self, ticket: Ticket, position: int, gap_s: float | None) -> None:
        if is_news(ticket.position, position):
            ticket.position = position
            eta_s = None if gap_s is None else round((position + 1) * gap_s, 2)
            ticket.report(Queued(position=position, eta_s=eta_s))

    def _gap_s(self, model: str, now: float) -> float | None:
        """Seconds from one slot of the model's coming free to the next one's."""
        fleet = self._registry.view(now)
        model_id = fleet.id_of(model)
        lane = self._line.lanes.get(model)
        stalled_s = 0.0 if lane is None else now - lane.moved
        return self._paces[model_id].gap_s(fleet.slots.get(model_id, 0), stalled_s)


def is_news(told: int, position: int) -> bool:
    """Near the head every step counts, far behind it every eighth of the way: an answer's log keeps
    all that it was told."""
    return told < 0 or abs(told - position) >= max(1, told // 8)


def too_late(eta_s: float, wait_limit_s: float, deadline_s: float | None) -> Refusal | None:
    """Why a slot after `eta_s` would be too late."""
    if eta_s > wait_limit_s:
        error = Overloaded(
            f"A slot comes free in about {eta_s:.0f} s, and nobody may wait longer than"
            f" {wait_limit_s:.0f} s.",
            hint="try again later, or start more workers",
            retry_after_s=bounded(eta_s - wait_limit_s),
        )
        return "slow", error
    if deadline_s is not None and eta_s > deadline_s:
        error = Overloaded(
            f"A slot comes free in about {eta_s * 1_000:.0f} ms, and the answer shall be there"
            f" within {deadline_s * 1_000:.0f} ms.",
            hint="give it a later deadline_ms, try again later, or start more workers",
            path="$.deadline_ms",
            retry_after_s=bounded(eta_s - deadline_s),
        )
        return "deadline", error
    return None
