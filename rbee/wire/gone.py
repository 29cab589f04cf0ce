"""Waiting for an answer only as long as somebody waits for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
from starlette.requests import Request

from rbee.errors import Cancelled

T = TypeVar("T")


async def unless_gone(request: Request, wait: Callable[[], Awaitable[T]]) -> T:
    """`await wait()`, cancelled (and `Cancelled` raised) when the client disconnects first.

    The request's body must have been read. What `wait` raises is raised as it is.
    """
    outcome: list[T] = []
    error: Exception | None = None

    async def listen(scope: anyio.CancelScope) -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(listen, group.cancel_scope)
        try:
            outcome.append(await wait())
        except Exception as exc:
            error = exc
        group.cancel_scope.cancel()
    if error is not None:
        raise error
    if not outcome:
        raise Cancelled("The client went away.")
    return outcome[0]
