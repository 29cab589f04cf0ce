"""A stream of events that is attached to again by itself when it breaks; the awaiting side."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Self

import anyio

from rbee.client.pursuit import FAREWELL_S, JOB_HEADER, Pursuit
from rbee.contracts.answers import JobView
from rbee.contracts.events import AnyEvent
from rbee.errors import Late, RbeeError, ServerGone, Upstream
from rbee.wire.http import Answering, Http


class AsyncEvents:
    """A stream of events, to be entered, and to be iterated over once. Leaving it has its job
    cancelled, unless somebody else asked for that.

    Ends after `done` or `failed`. Raises what the server answered, or what broke the stream, once
    no patience is left.
    """

    def __init__(self, http: Http, pursuit: Pursuit, silence_s: float) -> None:
        self._http = http
        self._pursuit = pursuit
        self._silence_s = silence_s
        self._begun: Answering | None = None

    def __repr__(self) -> str:
        return f"<AsyncEvents of {self.job_id}, next is {self.cursor}>"

    @property
    def job_id(self) -> str:
        return self._pursuit.job_id

    @property
    def cursor(self) -> int:
        """The number of the next event: where to resume."""
        return self._pursuit.cursor

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Leave, and say so, also when we are being cancelled: an answer that goes on for nobody
        would keep its slot."""
        self._hang_up()
        if url := self._pursuit.farewell():
            with anyio.move_on_after(FAREWELL_S, shield=True), suppress(RbeeError):
                await self._http.call("DELETE", url, JobView, timeout_s=FAREWELL_S)

    async def __aiter__(self) -> AsyncIterator[AnyEvent]:
        while not self._pursuit.ended:
            for _, event in self._pursuit.read(await self._some(), time.monotonic()):
                yield event

    async def _some(self) -> bytes:
        """What the stream brings next, opened again if need be."""
        while True:
            try:
                if self._begun is not None and (chunk := await self._begun.some()):
                    return chunk
                broken = self._pursuit.broke_off()
            except (Upstream, Late) as exc:
                broken = exc
            await self._pause(self._pursuit.broke(broken, time.monotonic()))
            await self._open()

    async def _open(self) -> None:
        """Have a stream, at whichever queen and after however many tries."""
        while (wait_s := await self._try()) is not None:
            await self._pause(wait_s)

    async def _try(self) -> float | None:
        """Send the request that is due; how long to wait before the next, None when it streams."""
        asked = self._pursuit.request()
        try:
            self._begun = await self._http.begin(
                asked.method,
                asked.url,
                asked.body,
                head_s=asked.head_s,
                silence_s=self._silence_s,
                headers=asked.headers,
            )
            refusal = await self._begun.refusal()
        except (ServerGone, Upstream, Late) as exc:
            return self._pursuit.broke(exc, time.monotonic())
        if refusal is not None:
            return self._pursuit.refused(refusal, time.monotonic())
        self._pursuit.opened(self._begun.headers.get(JOB_HEADER, ""), time.monotonic())
        return None

    async def _pause(self, wait_s: float) -> None:
        self._hang_up()
        await anyio.sleep(wait_s)

    def _hang_up(self) -> None:
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.close()
