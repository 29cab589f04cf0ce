"""A stream of events that is attached to again by itself when it breaks; the blocking side."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from types import TracebackType
from typing import Self

from rbee.client.pursuit import FAREWELL_S, JOB_HEADER, Pursuit
from rbee.client.transport import Exchange, call
from rbee.contracts.events import AnyEvent
from rbee.errors import Late, RbeeError, ServerGone, Upstream


class Events:
    """A stream of events; iterate over it once, and leave it to have its job cancelled.

    Ends after `done` or `failed`. Raises what the server answered, or what broke the stream, once
    no patience is left.
    """

    def __init__(self, pursuit: Pursuit, silence_s: float) -> None:
        self._pursuit = pursuit
        self._silence_s = silence_s
        self._exchange: Exchange | None = None
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<Events of {self.job_id}, next is {self.cursor}>"

    @property
    def job_id(self) -> str:
        return self._pursuit.job_id

    @property
    def cursor(self) -> int:
        """The number of the next event: where to resume."""
        return self._pursuit.cursor

    def raw(self) -> Iterator[bytes]:
        """The events as the server wrote them."""
        with closing(self._all()) as events:
            for data, _ in events:
                yield data

    def __iter__(self) -> Iterator[AnyEvent]:
        with closing(self._all()) as events:
            for _, event in events:
                yield event

    def close(self) -> None:
        """Leave, and say so: an answer that goes on for nobody would keep its slot."""
        self._hang_up()
        if url := self._pursuit.farewell():
            with suppress(RbeeError):  # the connection is closed as well
                call("DELETE", url, silence_s=FAREWELL_S, connect_s=FAREWELL_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _all(self) -> Generator[tuple[bytes, AnyEvent], None, None]:
        try:
            while not self._pursuit.ended:
                yield from self._pursuit.read(self._some(), time.monotonic())
        finally:
            self.close()

    def _some(self) -> bytes:
        """What the stream brings next, opened again if need be."""
        while True:
            try:
                if self._exchange is not None and (chunk := self._exchange.some()):
                    return chunk
                broken: RbeeError = self._pursuit.broke_off()
            except (Upstream, Late) as exc:
                broken = exc
            self._pause(self._pursuit.broke(broken, time.monotonic()))
            self._open()

    def _open(self) -> None:
        """Have a stream, at whichever queen and after however many tries."""
        while (wait_s := self._try()) is not None:
            self._pause(wait_s)

    def _try(self) -> float | None:
        """Send the request that is due; how long to wait before the next, None when it streams."""
        asked = self._pursuit.request()
        self._exchange = Exchange(
            asked.method, asked.url, asked.body, asked.headers, self._silence_s
        )
        try:
            refusal = self._exchange.begin(asked.head_s)
        except (ServerGone, Upstream, Late) as exc:
            return self._pursuit.broke(exc, time.monotonic())
        if refusal is not None:
            return self._pursuit.refused(refusal, time.monotonic())
        self._pursuit.opened(self._exchange.header(JOB_HEADER), time.monotonic())
        return None

    def _pause(self, wait_s: float) -> None:
        self._hang_up()
        time.sleep(wait_s)

    def _hang_up(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.close()
