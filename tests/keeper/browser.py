"""A headless Chromium, spoken to in its own protocol: a page, its screen's width, a question."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0")
WITHIN_S = 30.0
_ADDRESS = re.compile(rb"DevTools listening on ws://([^/]+)/")


class Page:
    """One page; commands are answered one at a time."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._sent = 0

    async def open(self, url: str, width: int, height: int = 800) -> None:
        """Load it on a screen of that width."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self._do("Emulation.setDeviceMetricsOverride", **screen)
        await self._do("Page.navigate", url=url)

    async def tell(self, expression: str) -> Any:
        """What a script's expression is there."""
        found = await self._do("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, expression: str) -> None:
        ends = time.monotonic() + WITHIN_S
        while not await self.tell(expression):
            assert time.monotonic() < ends, f"not so within {WITHIN_S} s: {expression}"
            await asyncio.sleep(0.05)

    async def _do(self, method: str, **params: Any) -> dict[str, Any]:
        self._sent += 1
        await self._socket.send_json({"id": self._sent, "method": method, "params": params})
        while True:
            said = await self._socket.receive_json(timeout=WITHIN_S)
            if said.get("id") == self._sent:
                result: dict[str, Any] = said["result"]
                return result


@asynccontextmanager
async def browser() -> AsyncIterator[Page]:
    """Gone when the context is left."""
    assert PROGRAM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        child = await asyncio.create_subprocess_exec(
            PROGRAM,
            *FLAGS,
            f"--user-data-dir={profile}",
            "about:blank",
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(WITHIN_S):
                address = await _address(child)
            async with (
                aiohttp.ClientSession() as http,
                http.put(f"http://{address}/json/new?about:blank") as made,
                http.ws_connect((await made.json())["webSocketDebuggerUrl"]) as socket,
            ):
                yield Page(socket)
        finally:
            child.kill()
            await child.communicate()


async def _address(child: asyncio.subprocess.Process) -> str:
    assert child.stderr is not None
    while line := await child.stderr.readline():
        if found := _ADDRESS.search(line):
            return found[1].decode()
    raise AssertionError("the browser has ended")
