"""Heartbeats, from the sender's side: push the whole state to the queen, again and again.

1. The queen's acknowledgement says when the next one is due.
2. A changed state is sent at once (`poke`), but never two within `MIN_GAP_S`.
3. No queen, no harm: silence is retried every `RETRY_S`, so that either may be started first and a
   restarted queen knows the fleet again within a beat.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable

import anyio

from rbee.contracts.fleet import Beat, BeatAck
from rbee.errors import RbeeError
from rbee.wire.http import Http

log = logging.getLogger(__name__)
RETRY_S = 1.0
MIN_GAP_S = 0.02
TIMEOUT_S = 3.0


class Beater:
    """Sends `snapshot(seq)` to `{queen_url}/v1/heartbeats`; does nothing when the URL is empty."""

    def __init__(self, http: Http, queen_url: str, snapshot: Callable[[int], Beat]) -> None:
        self.incarnation = secrets.token_hex(8)
        self._http = http
        self._url = queen_url
        self._snapshot = snapshot
        self._seq = 0
        self._poke = anyio.Event()
        self._heard = True

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
        """One last beat, within a second, so that the queen need not wait for the silence."""
        if self._url:
            with anyio.move_on_after(1.0, shield=True):
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
                log.warning("no answer from the queen, trying on: %s", exc)
            self._heard = False
            return RETRY_S
        if not self._heard:
            log.info("the queen at %s answers", self._url)
        self._heard = True
        return max(MIN_GAP_S, ack.next_s)
