"""One process's servers and loops: they start together, say that they are ready, and end together.

1. The socket is bound before anything else, so that a port in use is one clear line.
2. Signals are ours, not uvicorn's (it raises them again at the end, so that no `finally` runs).
   The first one drains: `stopping` is called, open answers get `GRACE_S`. A second does not wait.
3. Loops run beside the servers in one task group: one that crashes ends the process, loudly.
4. Readiness is a handshake: one line `ready <url>` on stdout for each server, when it accepts.
"""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import anyio
import uvicorn
from starlette.types import ASGIApp

from rbee.errors import PortInUse, Usage
from rbee.wire.guard import is_loopback

GRACE_S = 5.0
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
KEEP_ALIVE_S = 75
"""Longer than our own client keeps an idle connection: were it shorter, a request could be
sent into a connection that is being closed."""
MAX_PORT = 65_535
Loop = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Served:
    """A role, opened and ready to serve. `stopping` runs at the first signal, before the drain."""

    app: ASGIApp
    socket: socket.socket
    url: str
    loops: Sequence[Loop] = ()
    stopping: Callable[[], None] = lambda: None


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
    name = host or _WILDCARDS.get(bound, bound)
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
                timeout_graceful_shutdown=int(GRACE_S),
                timeout_keep_alive=KEEP_ALIVE_S,
            )
        )
        self.served = served

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.stdout.write(f"ready {self.served.url}\n")
        sys.stdout.flush()


async def serve(*served: Served) -> None:
    """Serve until a signal; returns when everything has ended."""
    servers = [_Server(s) for s in served]
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as group:
            for role in served:
                for loop in role.loops:
                    group.start_soon(loop)
            group.start_soon(_obey, signals, servers)
            async with anyio.create_task_group() as accepting:
                for server in servers:
                    accepting.start_soon(server.serve, [server.served.socket])
            group.cancel_scope.cancel()


async def _obey(signals: Any, servers: Sequence[_Server]) -> None:
    async for _ in signals:
        for server in servers:
            server.force_exit = server.should_exit
            server.should_exit = True
            server.served.stopping()


def run(main: Callable[[], Awaitable[None]]) -> None:
    """`anyio.run` on uvloop, where there is one."""
    fast = sys.platform != "win32"
    anyio.run(main, backend="asyncio", backend_options={"use_uvloop": fast})
