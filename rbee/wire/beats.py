"""Heartbeats, from the sender's side: push the whole state to whoever listens, again and again.

1. The listener's acknowledgement says when the next one is due.
2. A changed state is sent at once (`poke`), but never two within `MIN_GAP_S`.
3. No listener, no harm: an unheard beat is sent again after the interval that was told last, and
   after `RETRY_S` at most, so that either may be started first and a restarted queen knows the
   fleet again within a beat. A part of it is chance, so that a fleet does not come all at once.
4. Several listeners (`Beaters`) hear of one life, each at its own pace: a deaf one delays nobody.
"""

from __future__ import annotations

import logging
import random
import secrets
import time
from collections.abc import Callable, Iterable

import anyio

from rbee.contracts.fleet import Beat, BeatAck
from rbee.errors import RbeeError
from rbee.wire.http import Http

log = logging.getLogger(__name__)
RETRY_S = 1.0
MIN_GAP_S = 0.02
TIMEOUT_S = 3.0
JITTER = 0.25
"""The part of a pause that is left to chance."""
FAREWELL_S = 0.4
"""Less than the second in which an idle role ends."""
Snapshot = Callable[[int], Beat]


def retry_s(told_s: float, chance: float) -> float:
    """How long after a beat that nobody heard the next one is due; `told_s` is the interval that
    the listener wished last, `chance` (0 to 1) is the jitter's. Never more than either bound."""
    return min(RETRY_S, told_s) * (1.0 - JITTER * chance)


class Beater:
    """Sends `snapshot(seq)` to `{url}/v1/heartbeats`; does nothing when the URL is empty."""

    def __init__(
        self,
        http: Http,
        url: str,
        snapshot: Snapshot,
        *,
        incarnation: str = "",
        listener: str = "the queen",
    ) -> None:
        self.incarnation = incarnation or secrets.token_hex(8)
        self._http = http
        self._url = url
        self._snapshot = snapshot
        self._listener = listener
        self._seq = 0
        self._poke = anyio.Event()
        self._heard = True
        self._told_s = RETRY_S
        self._acked = time.monotonic()

    def __repr__(self) -> str:
        return f"<Beater {self._url} {self._seq} beats, unheard for {self.unheard_s:.1f} s>"

    @property
    def unheard_s(self) -> float:
        """How long nothing was acknowledged; 0 as long as the last beat was."""
        return 0.0 if self._heard else time.monotonic() - self._acked

    def poke(self) -> None:
        """The state changed: send it now."""
        self._poke.set()

    async def loop(self) -> None:
        """Beat for ever; for the server's task group."""
        while self._url:
            self._poke = anyio.Event()
            wait_s = await self.beat()
            await anyio.sleep(MIN_GAP_S)
            with anyio.move_on_after(wait_s):
                await self._poke.wait()

    async def farewell(self) -> None:
        """One last beat, soon over, so that the queen need not wait for the silence."""
        if self._url:
            with anyio.move_on_after(FAREWELL_S, shield=True):
                await self.beat()

    async def beat(self) -> float:
        """Send one; returns the seconds until the next."""
        self._seq += 1
        url = f"{self._url}/v1/heartbeats"
        try:
            ack: BeatAck = await self._http.call(
                "POST", url, BeatAck, self._snapshot(self._seq), timeout_s=TIMEOUT_S
            )
        except RbeeError as exc:
            if self._heard:
                log.warning("no answer from %s, trying on: %s", self._listener, exc)
            self._heard = False
            return retry_s(self._told_s, random.random())
        if not self._heard:
            log.info("%s at %s answers", self._listener, self._url)
        self._heard, self._acked = True, time.monotonic()
        self._told_s = max(MIN_GAP_S, ack.next_s)
        return self._told_s


class Beaters:
    """The heartbeats of one process to everybody who shall hear them."""

    def __init__(self, http: Http, queens: Iterable[str], snapshot: Snapshot) -> None:
        self.incarnation = secrets.token_hex(8)
        self._http = http
        self._snapshot = snapshot
        self._all: list[Beater] = []
        for url in queens:
            self.add(url, "the queen")

    def __repr__(self) -> str:
        return f"<Beaters {self._all}>"

    def add(self, url: str, listener: str) -> Beater:
        """One listener more, before the loop begins."""
        made = Beater(
            self._http, url, self._snapshot, incarnation=self.incarnation, listener=listener
        )
        self._all.append(made)
        return made

    def poke(self) -> None:
        """The state changed: all are told now."""
        for beater in self._all:
            beater.poke()

    async def loop(self) -> None:
        """Beat for ever; for the server's task group."""
        async with anyio.create_task_group() as group:
            for beater in self._all:
                group.start_soon(beater.loop)

    async def farewell(self) -> None:
        """The last beat, to all at the same time."""
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as group:
                for beater in self._all:
                    group.start_soon(beater.farewell)
