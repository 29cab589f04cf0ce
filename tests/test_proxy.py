"""The proxy itself: what it breaks is broken, and nothing else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import pytest

from tests.proxy import Fault, Proxy, proxied

LIMIT_S = 5.0


@contextmanager
def echo() -> Iterator[str]:
    """A server that says everything back, and ends when it is told the end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)
        enough = threading.Event()

        def serve() -> None:
            while not enough.is_set():
                try:
                    made, _ = listening.accept()
                except TimeoutError:
                    continue
                with made:
                    made.settimeout(LIMIT_S)
                    try:
                        while data := made.recv(65_536):
                            made.sendall(data)
                    except OSError:
                        pass  # the test has cut it

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        enough.set()
        thread.join(LIMIT_S * 2)


def connect(proxy: Proxy) -> socket.socket:
    parts = urlsplit(proxy.url)
    made = socket.create_connection((parts.hostname, parts.port), LIMIT_S)
    made.settimeout(LIMIT_S)
    return made


def read(link: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (data := link.recv(size - len(found))):
        found += data
    return found


def test_everything_passes_in_both_directions() -> None:
    data = bytes(range(256)) * 1_000
    with echo() as url, proxied(url) as proxy, closing(connect(proxy)) as link:
        threading.Thread(target=link.sendall, args=(data,)).start()
        assert read(link, len(data)) == data
        link.shutdown(socket.SHUT_WR)
        assert link.recv(1) == b""
        assert proxy.connections == 1


def test_a_slow_link_delays_and_does_not_throttle() -> None:
    with echo() as url, proxied(url, delay_s=0.1) as proxy, closing(connect(proxy)) as link:
        began = time.monotonic()
        for number in range(20):
            link.sendall(bytes([number]))
        assert read(link, 20) == bytes(range(20))
        assert 0.2 <= time.monotonic() - began < 1.0


@pytest.mark.parametrize("after", [0, 1, 7, 100])
def test_a_cut_is_a_reset_after_so_many_bytes(after: int) -> None:
    with echo() as url, proxied(url, fault=Fault("cut", after)) as proxy:
        with closing(connect(proxy)) as link:
            link.sendall(b"x" * 100)
            seen = b""
            with pytest.raises(ConnectionResetError):
                while data := link.recv(1_000):
                    seen += data
            assert len(seen) <= after  # a reset may overtake what is still on its way
        with closing(connect(proxy)) as link:
            link.sendall(b"again")
            assert read(link, 5) == b"again"
        assert proxy.faults == 1


def test_a_half_closed_link_still_carries_the_other_half() -> None:
    fault = Fault("half-close", 3, "server")
    with echo() as url, proxied(url, fault=fault) as proxy, closing(connect(proxy)) as link:
        link.sendall(b"abcdef")
        assert read(link, 10) == b"abc"


def test_a_stall_holds_everything_back_until_it_is_over() -> None:
    fault = Fault("stall", 2)
    with echo() as url, proxied(url, fault=fault) as proxy, closing(connect(proxy)) as link:
        link.sendall(b"abcdef")
        assert read(link, 2) == b"ab"
        link.settimeout(0.3)
        with pytest.raises(TimeoutError):
            link.recv(1)
        link.settimeout(LIMIT_S)
        proxy.resume()
        assert read(link, 4) == b"cdef"


def test_a_test_may_say_when() -> None:
    with (
        echo() as url,
        proxied(url) as proxy,
        closing(connect(proxy)) as link,
        closing(connect(proxy)) as idle,
    ):
        link.sendall(b"x")
        assert read(link, 1) == b"x"
        proxy.stall("client")
        link.sendall(b"y")
        link.settimeout(0.3)
        with pytest.raises(TimeoutError):
            link.recv(1)
        proxy.resume()
        link.settimeout(LIMIT_S)
        assert read(link, 1) == b"y"
        proxy.cut()
        for one in (link, idle):
            with pytest.raises(ConnectionResetError):
                one.recv(1)


def test_nobody_behind_it_is_a_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with (
        proxied(f"http://127.0.0.1:{port}") as proxy,
        pytest.raises(ConnectionResetError),  # already while connecting, when it is quick
        closing(connect(proxy)) as link,
    ):
        link.recv(1)
