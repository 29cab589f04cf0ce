"""Asking as clients do, and listening to the end: the SDK, and OpenAI's dialect over plain HTTP.

Whatever goes wrong is written down with the answer (`Heard`) and never raised. A stream that simply
stops is a failure, also where HTTP calls it a good end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp
import anyio
import anyio.to_thread

from rbee.client import requests
from rbee.client.asynchronous import AsyncClient
from rbee.client.sync import Client
from rbee.errors import RbeeError
from rbee.keeper.chaos.asks import MODEL, Ask
from rbee.keeper.chaos.heard import Heard
from rbee.keeper.chaos.notes import Asides, note, note_chunk, note_refusal
from rbee.wire.jobroutes import JOB_HEADER
from rbee.wire.sse import FrameReader

LIMIT_S = 90.0
"""For a whole answer, whatever happens meanwhile."""
AGAIN_S = 0.1
NOT_NOW = ("server_unreachable", "draining", "overloaded", "unavailable")
"""Of a request that had not begun: it may be asked again."""


class Doors:
    """All ways to ask a queen; the SDK also knows the others."""

    def __init__(self, queens: Sequence[str]) -> None:
        self._queen = queens[0]
        self._queens = ",".join(queens)
        self.tries = 0
        """How often the SDK tried again by itself, to ask or to attach."""
        self._client = AsyncClient(self._queens, tell=self._count)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        limit = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=30.0)
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=limit)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
        await self._client.__aexit__(kind, exc, trace)

    async def ask(self, ask: Ask, patience_s: float = 0.0) -> Heard:
        """One answer, to its end."""
        heard = Heard(ask.name)
        await self.listen(ask, heard, patience_s)
        return heard

    async def listen(self, ask: Ask, heard: Heard, patience_s: float = 0.0) -> None:
        """Ask, and write down what is heard. Who is turned away before anything began asks again
        within `patience_s`."""
        try:
            with anyio.move_on_after(LIMIT_S) as limit:
                await self._tried(ask, heard)
                while _may_ask_again(heard, patience_s):
                    heard.code, heard.again = "", heard.again + 1
                    await anyio.sleep(AGAIN_S)
                    await self._tried(ask, heard)
            if limit.cancelled_caught:
                heard.failed("late", f"No end after {LIMIT_S:.0f} s.")
        except anyio.get_cancelled_exc_class():
            heard.failed("left", "The scenario was broken off before the answer ended.")
            raise
        finally:
            heard.end()

    async def _tried(self, ask: Ask, heard: Heard) -> None:
        body = {**ask.body, "model": MODEL}
        try:
            if ask.door == "sdk":
                await self._sdk(body, heard)
            elif ask.door == "blocking":
                await anyio.to_thread.run_sync(self._blocking, body, heard, abandon_on_cancel=True)
            else:
                await self._openai(ask.door, body, heard)
        except RbeeError as exc:
            heard.failed(exc.code, exc.message)
        except aiohttp.ClientConnectorError as exc:
            heard.failed("server_unreachable", str(exc))
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            heard.failed("broke_off", f"{type(exc).__name__} {exc}")

    async def _sdk(self, body: dict[str, Any], heard: Heard) -> None:
        async with self._client.events(requests.infer(None, {**body, "stream": True})) as events:
            heard.accepted(events.job_id)
            async for event in events:
                note(event, heard)

    async def submit(self, ask: Ask, heard: Heard) -> None:
        """Ask for an answer that runs by itself, whose job is known before it has begun, and attach
        to it. Through the SDK."""
        operation = requests.infer(None, {**ask.body, "model": MODEL, "stream": True})
        try:
            accepted = await self._client.submit(operation)
            heard.accepted(accepted.job_id)
            async with self._client.attach(accepted.job_id) as events:
                async for event in events:
                    note(event, heard)
        except RbeeError as exc:
            heard.failed(exc.code, exc.message)
        finally:
            heard.end()

    def _count(self, _told: str) -> None:
        self.tries += 1

    def _count_beside(self, told: str) -> None:
        """The same, from another thread."""
        anyio.from_thread.run_sync(self._count, told)

    def _blocking(self, body: dict[str, Any], heard: Heard) -> None:
        operation = requests.infer(None, {**body, "stream": True})
        with Client(self._queens, tell=self._count_beside).events(operation) as events:
            anyio.from_thread.run_sync(heard.accepted, events.job_id)
            for event in events:
                anyio.from_thread.run_sync(note, event, heard)

    async def _openai(self, door: str, body: dict[str, Any], heard: Heard) -> None:
        assert self._session is not None
        path = "/v1/chat/completions" if door == "chat" else "/v1/completions"
        heard.sent = time.monotonic()
        async with self._session.post(
            self._queen + path, json={**body, "stream": True}
        ) as response:
            if response.status != 200:
                heard.answered = time.monotonic()
                heard.retry_after = response.headers.get("Retry-After", "")
                note_refusal(response.status, await response.read(), heard)
                return
            heard.accepted(response.headers.get(JOB_HEADER, ""))
            reader, asides = FrameReader(), Asides()
            while chunk := await response.content.readany():
                heard.migrations = asides.feed(chunk)
                for data in reader.feed(chunk):
                    if data == b"[DONE]":
                        return
                    note_chunk(json.loads(data), heard)
        if not heard.code:
            heard.failed("broke_off", "The stream ended without [DONE].")


def _may_ask_again(heard: Heard, patience_s: float) -> bool:
    """Whether nothing had begun, it was no final refusal, and there is time left."""
    begun = heard.pieces or heard.job_id
    return not begun and heard.code in NOT_NOW and time.monotonic() - heard.began < patience_s
