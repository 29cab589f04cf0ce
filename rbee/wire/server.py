"""One process's servers and loops: they start together, say that they are ready, and end together.

1. The socket is bound before anything else, so that a port in use is one clear line.
2. Signals are ours, not uvicorn's (it raises them again at the end, so that no `finally` runs).
   The first one drains: each role finishes what runs, in the order in which they are served, each
   until its own `limit_s` after the signal, and answers all the while. A second one ends the drain;
   behind a `DRAIN_SIGNAL`, which sets no limit, it sets that limit, and a third one ends it.
   Then `stopping` is called, open streams get their last event, and whoever is still connected
   `CLOSE_S` later is cut: an idle role ends within a second.
3. Loops run beside the servers in one task group: one that crashes ends the process, loudly.
4. Readiness is a handshake: one line `ready <url>` on stdout for each server, when it accepts.
"""

from __future__ import annotations

import contextlib
import errno
import math
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import anyio
import uvicorn
from starlette.types import ASGIApp

from rbee.errors import PortInUse, Usage
from rbee.wire.drain import DRAIN_SIGNAL, Drain, drained
from rbee.wire.guard import is_loopback
from rbee.wire.memory import search_seldom

CLOSE_S = 0.5
CUT_S = 0.05
"""After a connection was cut, until its handler must have noticed."""
LAST_S = 2
"""What uvicorn waits for connections by itself: never so long, for they are cut before."""
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
KEEP_ALIVE_S = 75
"""Longer than our own client keeps an idle connection: were it shorter, a request could be
sent into a connection that is being closed."""
MAX_PORT = 65_535
Loop = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Served:
    """A role, opened and ready to serve. `stopping` runs when its drain is over."""

    app: ASGIApp
    socket: socket.socket
    url: str
    loops: Sequence[Loop] = ()
    stopping: Callable[[], None] = lambda: None
    drain: Drain | None = None


def check_bind(bind: str, insecure: bool) -> None:
    """Closed by default: refuse any address but loopback without `--insecure`."""
    if not is_loopback(bind) and not insecure:
        raise Usage(
            f"Binding {bind} would open rbee to the network without any key.",
            hint="bind 127.0.0.1 (the default), or add --insecure on a network that you trust",
        )


def listen(bind: str, port: int, tries: int = 1) -> socket.socket:
    """A listening socket on the first free port of `port` .. `port + tries - 1`.

    Raises `PortInUse` when there is none, `Usage` when `bind` is no address of this machine.
    """
    for candidate in range(port, min(port + tries, MAX_PORT + 1)):
        try:
            return _bound(bind, candidate)
        except TypeError as exc:  # what Python says of a name that no resolver could be asked
            raise Usage(f"{bind[:80]!r} is no address.") from exc
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise Usage(f"Cannot bind {bind}:{candidate}: {exc.strerror}.") from exc
    last = f" to {port + tries - 1}" if tries > 1 else ""
    raise PortInUse(
        f"Port {port}{last} on {bind} is in use.",
        hint="another rbee may be running (rbee status); --port chooses another",
    )


def _bound(bind: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((bind, port))
        made.listen(2_048)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def url_of(made: socket.socket, host: str = "") -> str:
    """The socket's address as a URL; `host` replaces the one it is bound to. A wildcard, which is
    no address, is written as the loopback that it includes."""
    bound, port = made.getsockname()[:2]
    return address(host or _WILDCARDS.get(bound, bound), port)


def address(name: str, port: int) -> str:
    """A host and a port as a URL."""
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def advertised_host(bind: str, peer_url: str) -> str:
    """The address under which others reach a server bound to `bind`: for a wildcard, the one of
    the interface that leads to the peer. No packet is sent."""
    if bind not in _WILDCARDS:
        return bind
    peer = urlsplit(peer_url).hostname or "127.0.0.1"
    with contextlib.suppress(OSError):
        family = socket.getaddrinfo(peer, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family[0], socket.SOCK_DGRAM) as probe:
            probe.connect(family[4])
            found: str = probe.getsockname()[0]
            return found
    return socket.gethostname()


class _Server(uvicorn.Server):
    """uvicorn without its signal handling, telling when it accepts connections."""

    def __init__(self, served: Served) -> None:
        super().__init__(
            uvicorn.Config(
                served.app,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=LAST_S,
                timeout_keep_alive=KEEP_ALIVE_S,
            )
        )
        self.served = served

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        search_seldom()
        sys.stdout.write(f"ready {self.served.url}\n")
        sys.stdout.flush()

    def end(self) -> None:
        """Accept no more; open streams get their last event."""
        self.served.stopping()
        self.should_exit = True

    def disconnect(self) -> None:
        """Whoever is still connected has had the time."""
        self.force_exit = True
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def cancel(self) -> None:
        """A handler that has not noticed that its reader is gone."""
        for task in list(self.server_state.tasks):
            task.cancel()


async def serve(*served: Served) -> None:
    """Serve until a signal; returns when everything has ended."""
    servers = [_Server(s) for s in served]
    numbers = (signal.SIGINT, signal.SIGTERM, DRAIN_SIGNAL)
    with anyio.open_signal_receiver(*numbers) as signals:
        async with anyio.create_task_group() as group:
            for role in served:
                for loop in role.loops:
                    group.start_soon(loop)
            group.start_soon(_obey, signals, servers)
            async with anyio.create_task_group() as accepting:
                for server in servers:
                    accepting.start_soon(server.serve, [server.served.socket])
            group.cancel_scope.cancel()


async def _obey(signals: AsyncIterator[signal.Signals], servers: Sequence[_Server]) -> None:
    patience, first = anyio.CancelScope(), await anext(signals)
    limited = first != DRAIN_SIGNAL
    async with anyio.create_task_group() as group:
        group.start_soon(_end, patience, servers, first)
        async for number in signals:
            if number == DRAIN_SIGNAL:
                continue  # it drains already
            if limited:
                patience.cancel()
            else:  # the drain that is on gets the limit of this one
                limits = [server.served.drain.limit_s for server in servers if server.served.drain]
                patience.deadline = anyio.current_time() + max(limits, default=0.0)
                limited = True


async def _end(
    patience: anyio.CancelScope, servers: Sequence[_Server], number: signal.Signals
) -> None:
    """From the first signal to the last connection."""
    began = anyio.current_time()
    with patience:
        for drain in (server.served.drain for server in servers):
            if drain is not None:
                limit = math.inf if number == DRAIN_SIGNAL else began + drain.limit_s
                await drained(drain, limit)
    for server in servers:
        server.end()
    await anyio.sleep(CLOSE_S)
    for server in servers:
        server.disconnect()
    await anyio.sleep(CUT_S)
    for server in servers:
        server.cancel()


def run(main: Callable[[], Awaitable[None]]) -> None:
    """`anyio.run` on uvloop, where there is one."""
    fast = sys.platform != "win32"
    anyio.run(main, backend="asyncio", backend_options={"use_uvloop": fast})
