"""How long each reason to wait may last, and what who has waited for too long is told. Pure.

Who was admitted is not sent away for being slow to reach a slot, as long as others of its model are
served: for a slot, time counts from when the lane last moved.
"""

from __future__ import annotations

from rbee.errors import Late, RbeeError, Unavailable
from rbee.queen.line import Queue, Ticket
from rbee.queen.scheduler import Why

SILENT_LIMIT_S = 15.0
"""How long to wait for the heartbeat of a worker that is, or was just now, known to be there."""


class Patience:
    """The limits of one queen."""

    def __init__(self, wait_limit_s: float, spawn_limit_s: float) -> None:
        self._limits: dict[Why, float] = {
            "busy": wait_limit_s,
            "settling": wait_limit_s,
            "starting": spawn_limit_s,
            "silent": min(SILENT_LIMIT_S, wait_limit_s),
        }

    def over(self, queue: Queue, now: float) -> RbeeError | None:
        """What the queue's oldest is told when its time is over; None while it is not."""
        ticket, limit = queue.oldest, self._limits[queue.why]
        moved = queue.lane.moved if queue.why == "busy" else queue.since
        began = max(ticket.arrived, queue.since, moved)
        if now - began < limit and now - ticket.arrived < sum(self._limits.values()):
            return None
        return late(ticket, queue.why, limit)


def late(ticket: Ticket, why: Why, limit_s: float) -> RbeeError:
    """What a ticket that has waited too long is told."""
    model, limit = ticket.need.model[:80], f"{limit_s:.0f} s"
    if why == "busy":
        return Late(f"No slot for {model!r} came free within {limit}.", hint="start more workers")
    if why == "silent":
        return Unavailable(
            f"A worker for {model!r} was started, but sends no heartbeat for {limit}.",
            hint="is it started with the right --queen? rbee worker list shows its log",
        )
    return Late(f"No worker for {model!r} was ready within {limit}.")
