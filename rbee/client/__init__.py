"""The Python SDK: `Client` blocks, `AsyncClient` awaits. The command line itself uses `Client`.

    with Client().stream("Hello") as events:
        for event in events: ...

Errors come back as the exceptions of `rbee.errors` that the server raised. Either client is
imported when it is first named: they cost very different times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rbee.client.asynchronous import AsyncClient
    from rbee.client.sync import Client

__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> Any:
    if name == "Client":
        from rbee.client.sync import Client

        return Client
    if name == "AsyncClient":
        from rbee.client.asynchronous import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
