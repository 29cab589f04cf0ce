"""What follows when an attempt at an answer has failed. Pure.

1. An answer that was begun moves: another worker goes on with it. One that had said nothing is
   asked anew, if the budget of such retries allows it.
2. A worker that has no room, or takes no more, is no failure of anybody's: ask again, a little
   later.
3. A request that is found to have killed its worker twice is convicted; one that may have killed it
   once is tried where no other such is. One that loses `MOST` workers is given up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MOST = 8
How = Literal["busy", "innocent", "suspect", "poison"]
"""The worker refused; or it was lost, and what that says of the request."""
Next = Literal["move", "retry", "convict", "give_up"]


@dataclass
class Course:
    """One request's way through the fleet."""

    suspect: bool = False
    """A worker crashed while it computed this, and nothing was said since."""
    losses: int = 0
    attempts: int = 0
    """Failed in a row, without a token in between."""

    def after(self, how: How, *, begun: bool, progressed: bool) -> Next:
        """`begun`: something was said, ever; `progressed`: in this attempt."""
        if progressed:
            self.suspect, self.attempts = False, 0
        self.attempts += 1
        if how == "poison":
            return "convict"
        if how != "busy":
            self.losses += 1
            self.suspect = self.suspect or how == "suspect"
        if self.losses >= MOST:
            return "give_up"
        return "move" if begun else "retry"
