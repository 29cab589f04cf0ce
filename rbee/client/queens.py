"""Which queen is asked: the one that answered last, and the others in turn. No I/O."""

from __future__ import annotations

import random
from collections.abc import Callable

from rbee.client.mending import Ask, Attach, GiveUp, Stand, Trouble, after
from rbee.errors import Draining, RbeeError, ServerGone

PATIENCE_S = 30.0
"""How long a queen that does not answer is waited for."""
NOT_BEGUN = (ServerGone, Draining)
"""Nobody was there, or nobody who takes new work: a request so refused may be sent again."""
Tell = Callable[[str], None]
TOLD: dict[Trouble, str] = {
    "refused": "the queen does not answer; trying again",
    "broke": "the queen does not answer; trying again",
    "unknown": "the queen has not found the answer yet; trying again",
}


class Queens:
    """The addresses that a client has, and what it knows of them."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self.addresses = addresses
        self.at = 0
        """Who answered last."""
        self.met = False
        """Whether anybody ever did."""

    def __repr__(self) -> str:
        return f"<Queens {', '.join(self.addresses)}, at {self.current}>"

    @property
    def current(self) -> str:
        return self.addresses[self.at]


class Hunt:
    """One request's way from queen to queen, until one has answered it."""

    def __init__(
        self,
        queens: Queens,
        patience_s: float,
        tell: Tell | None = None,
        *,
        sent: bool = False,
    ) -> None:
        """`sent`: the request is about a job that is there already."""
        self.stand = Stand(len(queens.addresses), queens.met, sent=sent, spoken=sent)
        self._queens = queens
        self._patience_s = patience_s
        self._tell = tell
        self._at = queens.at

    def __repr__(self) -> str:
        return f"<Hunt at {self.server}, {self.stand}>"

    @property
    def server(self) -> str:
        return self._queens.addresses[self._at]

    def answered(self) -> None:
        """This queen answers, whatever she says."""
        self._queens.at, self._queens.met = self._at, True
        self.stand = self.stand.answered()

    def refused(self, exc: RbeeError, now: float) -> float:
        """How long to wait before the same is asked again. Raises `exc` where that would be no
        use, or where it was tried for long enough."""
        if isinstance(exc, Draining):
            self.answered()
        if not isinstance(exc, NOT_BEGUN):
            raise exc
        return self.step("refused", exc, now).wait_s

    def step(self, trouble: Trouble, exc: RbeeError, now: float) -> Ask | Attach:
        """What to do after `exc`; raises it when that is nothing."""
        self.stand, step = after(self.stand, trouble, now, self._patience_s, random.random())
        if isinstance(step, GiveUp):
            raise exc
        if step.onwards:
            self._at = (self._at + 1) % len(self._queens.addresses)
        if self._tell is not None:
            self._tell(TOLD[trouble])
        return step
