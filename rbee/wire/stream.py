"""An event log as an HTTP answer that is closed by whoever sends it.

1. Two tasks: one sends, one listens for the reader's leaving, which may come while nothing is sent.
   A timer looks every few seconds whether they get on, so that no token needs one of its own; and
   mostly no task wakes for a token either, for it is sent as it is written (`_push`).
2. However the stream ends, `on_close` is called: that is where a slot is given back.
3. A reader that takes nothing for `SEND_DEADLINE_S` is cut; idle connections get comments. So no
   more lies here than the connection's buffer and one body: what is not asked for stays in the log,
   whose writer hears when that is much.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import anyio
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from rbee.contracts.events import AnyEvent, Failed
from rbee.errors import RbeeError
from rbee.wire import sse
from rbee.wire.codec import encode
from rbee.wire.connection import Connection
from rbee.wire.eventlog import EventLog, Reader
from rbee.wire.guard import DIRECT
from rbee.wire.replies import failed

KEEP_ALIVE_S = 10.0
SEND_DEADLINE_S = 60.0
ABORT_S = 0.1
"""The server is told of a connection's end first, and tells `_until_gone`; but it forgets a request
behind which another one waits."""
BODY_EVENTS = 256
"""Events sent at once: a server takes one body whatever its size."""

Translate = Callable[[int, Sequence[AnyEvent]], bytes]
"""(number of the first event, events) to the bytes to send."""


def as_events(number: int, events: Sequence[AnyEvent]) -> bytes:
    """rbee's own dialect: every event as it is, numbered."""
    return b"".join(sse.frame(encode(e), n) for n, e in enumerate(events, number))


class EventStream(Response):
    """Sends a log from `cursor` on, to its end."""

    media_type = "text/event-stream"

    def __init__(
        self,
        log: EventLog,
        cursor: int = 0,
        translate: Translate = as_events,
        headers: dict[str, str] | None = None,
        on_close: Callable[[], None] | None = None,
        end: bytes = sse.DONE,
        prelude: bytes = b"",
        opened: Callable[[], None] | None = None,
    ) -> None:
        """`opened` is called once the first bytes, those of a prelude, are on their way."""
        super().__init__(None, 200, {"Cache-Control": "no-cache", **(headers or {})})
        del self.headers["content-length"]
        self._log = log
        self._reader = Reader(cursor, lambda: None)
        self._translate = translate
        self._on_close = on_close
        self._opened = opened
        self._end = end
        self._sent = time.monotonic()
        """When a send was over."""
        self._sending = False
        """Whether the task waits for one to be."""
        self._looked = self._stood = self._sent
        """When the timer last looked, and since when nothing was taken."""
        self._idle = False
        self._turn: asyncio.Future[None] | None = None
        """What the task waits for, while it has nothing to do."""
        self._left: tuple[bytes, bool] | None = (prelude, True) if prelude else None
        """What the task is to send, made already: first the prelude, which has no number."""
        self._broken: Exception | None = None
        """What went wrong while nobody could raise it."""
        self._timer: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with anyio.create_task_group() as group:
                direct = scope.get(DIRECT, send)
                group.start_soon(_until_gone, receive, group.cancel_scope)
                connection = Connection(direct)
                self._watch(connection, group.cancel_scope)
                await self._send_all(send, direct, connection)
                group.cancel_scope.cancel()
        except* OSError:
            pass  # the reader's connection broke: on_close tells the writer
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._on_close is not None:
                self._on_close()

    async def _send_all(self, send: Send, direct: Send, connection: Connection) -> None:
        """The head as the framework wants it, then body after body on the shortest way."""
        start: Message = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await send(start)
        self._reader.hear = lambda: self._push(direct)
        with self._log.read_by(self._reader):
            while True:
                while not self._is_due():
                    self._turn = asyncio.get_running_loop().create_future()
                    await self._turn
                    self._turn = None
                if self._broken is not None:
                    raise self._broken
                body, more = self._left or self._next()
                self._left, self._idle = None, False
                self._sending = True
                await direct({"type": "http.response.body", "body": body, "more_body": more})
                self._sent, self._sending = time.monotonic(), False
                if self._opened is not None:
                    self._opened()
                    self._opened = None
                if not more or connection.ending:
                    return

    def _push(self, direct: Send) -> None:
        """Send what is new from within the writer's `append`, when the task has nothing to do and
        the server takes it without waiting: no task need wake for a token. Whatever is not as
        simple as that is left to the task."""
        turn = self._turn
        if turn is None or turn.done():
            return
        if not (self._left or self._idle or self._log.ended):
            if self._log.total <= self._reader.cursor:
                return
            self._send_now(direct)
        if self._is_due():
            turn.set_result(None)

    def _send_now(self, direct: Send) -> None:
        """Send what is new, or leave it to the task in `_left`."""
        try:
            made = self._next()
            sending = direct({"type": "http.response.body", "body": made[0], "more_body": made[1]})
            if made[1]:
                sending.send(None)  # type: ignore[attr-defined]
            sending.close()  # type: ignore[attr-defined]
            self._left = made  # it would wait for its reader before it writes: the task can
        except StopIteration:
            self._sent = time.monotonic()
        except Exception as exc:
            self._broken = exc

    def _is_due(self) -> bool:
        """Whether there is something for the task to do."""
        if self._left or self._idle or self._broken or self._log.ended:
            return True
        return self._log.total > self._reader.cursor

    def _next(self) -> tuple[bytes, bool]:
        """The next bytes, and whether more will follow."""
        log, reader = self._log, self._reader
        number = reader.cursor
        if self._idle and log.total <= number and not log.ended:
            return sse.KEEP_ALIVE, True
        try:
            events = log.since(number, BODY_EVENTS)
        except RbeeError as exc:
            lost: Failed = failed(exc)
            return self._translate(number, [lost]) + self._end, False
        reader.cursor = number + len(events)
        if log.lagging:
            log.weigh()
        body = self._translate(number, events)
        if log.ended and reader.cursor >= log.total:
            return body + self._end, False
        return body, True

    def _watch(self, connection: Connection, scope: anyio.CancelScope) -> None:
        """Ask for a comment when nothing was sent for a while; end it when nothing is taken."""
        now = time.monotonic()
        if not connection.stands(otherwise=self._sending and self._sent <= self._looked):
            self._stood = now
        if now - self._stood > SEND_DEADLINE_S or connection.closed():
            connection.abort()
            self._timer = asyncio.get_running_loop().call_later(ABORT_S, scope.cancel)
            return
        if not self._sending and now - self._sent > KEEP_ALIVE_S / 2:
            self._idle = True
            self._log.wake()
        self._looked = now
        again = min(KEEP_ALIVE_S, SEND_DEADLINE_S) / 2
        self._timer = asyncio.get_running_loop().call_later(again, self._watch, connection, scope)


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    """Cancel `scope` when the reader leaves."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            scope.cancel()
            return
