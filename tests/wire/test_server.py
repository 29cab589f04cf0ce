"""Binding, readiness, signals and crashes; what a signal does is asked of real processes."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from rbee.errors import PortInUse, Usage
from rbee.wire import server
from rbee.wire.drain import DRAIN_SIGNAL
from rbee.wire.http import IDLE_S as CLIENT_IDLE_S
from tests.http import ask
from tests.processes import IDLE_S, ROOT, Started, started

SMALL = [sys.executable, "-m", "tests.wire.small"]


def taken_port(made: socket.socket) -> int:
    port: int = made.getsockname()[1]
    return port


def test_a_port_in_use() -> None:
    with server.listen("127.0.0.1", 0) as made, pytest.raises(PortInUse) as caught:
        server.listen("127.0.0.1", taken_port(made))
    assert caught.value.message.endswith("on 127.0.0.1 is in use.")
    assert caught.value.hint


def test_the_next_free_port_is_taken() -> None:
    with server.listen("127.0.0.1", 0) as made:
        port = taken_port(made)
        with server.listen("127.0.0.1", port, tries=50) as second:
            assert port < taken_port(second) <= port + 49


def test_ports_end_at_65535() -> None:
    with (
        server.listen("127.0.0.1", 65_535),
        pytest.raises(PortInUse, match="Port 65535 to 65544 on"),
    ):
        server.listen("127.0.0.1", 65_535, tries=10)


@pytest.mark.parametrize(
    "bind", ["192.0.2.7", "no.such.host.invalid", "300.1.1.1", "..", "x\0y", "\u00e9" * 70]
)
def test_what_is_no_address_of_this_machine(bind: str) -> None:
    with pytest.raises(Usage):
        server.listen(bind, 0)


@pytest.mark.parametrize("bind", ["127.0.0.1", "localhost", "::1", "127.0.0.9"])
def test_loopback_needs_no_leave(bind: str) -> None:
    server.check_bind(bind, insecure=False)


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.168.1.5", "myhost", "127.evil.com"])
def test_any_other_address_needs_it(bind: str) -> None:
    with pytest.raises(Usage) as caught:
        server.check_bind(bind, insecure=False)
    assert "--insecure" in caught.value.hint
    server.check_bind(bind, insecure=True)


def test_urls() -> None:
    with server.listen("127.0.0.1", 0) as made:
        port = taken_port(made)
        assert server.url_of(made) == f"http://127.0.0.1:{port}"
        assert server.url_of(made, "::1") == f"http://[::1]:{port}"
        assert server.url_of(made, "box.lan") == f"http://box.lan:{port}"


@pytest.mark.parametrize(
    ("bind", "peer", "expected"),
    [
        ("192.0.2.7", "http://10.0.0.1:7833", "192.0.2.7"),
        ("127.0.0.1", "http://10.0.0.1:7833", "127.0.0.1"),
        ("0.0.0.0", "http://127.0.0.1:7833", "127.0.0.1"),
        ("0.0.0.0", "http://localhost:7833", None),
        ("0.0.0.0", "", "127.0.0.1"),
        ("0.0.0.0", "http://no.such.host.invalid:1", socket.gethostname()),
    ],
)
def test_the_address_others_are_told(bind: str, peer: str, expected: str | None) -> None:
    found = server.advertised_host(bind, peer)
    assert found in ({"127.0.0.1", "::1"} if expected is None else {expected})


@contextmanager
def stream_of(process: Started, path: str) -> Iterator[http.client.HTTPResponse]:
    """A streamed answer of which the first event was read."""
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=20)
    try:
        connection.request("GET", path)
        with connection.getresponse() as response:
            assert b"first" in response.readline() + response.readline()
            yield response
    finally:
        connection.close()


def test_the_ready_line_is_true() -> None:
    with started(SMALL) as process:
        assert ask("GET", f"{process.url}/health").json()["status"] == "ok"


def test_two_servers_say_it_twice() -> None:
    child = subprocess.Popen([*SMALL, "two"], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        urls = [child.stdout.readline().split()[1].decode() for _ in range(2)]
        assert len(set(urls)) == 2
        assert all(ask("GET", f"{url}/health").status == 200 for url in urls)
        child.terminate()
        assert child.wait(10) == 0
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_server_and_closes_everything(number: signal.Signals) -> None:
    with started(SMALL) as process:
        process.child.send_signal(number)
        assert process.child.wait(10) == 0
        assert "everything closed" in process.stderr()


def test_a_signal_ends_open_streams_with_a_last_event() -> None:
    with started(SMALL) as process, stream_of(process, "/s") as response:
        began = time.monotonic()
        process.child.terminate()
        rest = response.read()
        assert process.child.wait(10) == 0
        assert time.monotonic() - began < IDLE_S
    assert b'"code":"draining"' in rest and rest.endswith(b"data: [DONE]\n\n")


def test_a_stream_that_does_not_end_is_cut() -> None:
    with started(SMALL) as process, stream_of(process, "/deaf"):
        assert ended_after_s(process) < 1.5
        assert "everything closed" in process.stderr()


def test_idle_connections_hold_nobody_up() -> None:
    with started(SMALL) as process, idle_connections(process, 20):
        assert ended_after_s(process) < IDLE_S


def ended_after_s(process: Started) -> float:
    """How long it takes from SIGTERM to the end."""
    began = time.monotonic()
    process.child.terminate()
    assert process.child.wait(15) == 0
    return time.monotonic() - began


@contextmanager
def idle_connections(process: Started, count: int) -> Iterator[None]:
    """Connections that are kept for a next request, and one that never said anything."""
    connections = [
        http.client.HTTPConnection("127.0.0.1", process.port, timeout=20) for _ in range(count)
    ]
    with socket.create_connection(("127.0.0.1", process.port)):
        try:
            for connection in connections:
                connection.request("GET", "/health")
                connection.getresponse().read()
            yield
        finally:
            for connection in connections:
                connection.close()


def test_what_runs_may_finish_and_others_are_told_to_go_elsewhere() -> None:
    with started([*SMALL, "draining=20"]) as process, stream_of(process, "/count") as response:
        process.child.terminate()
        until(lambda: ask("GET", f"{process.url}/ready").status == 503)
        refused = ask("GET", f"{process.url}/s")
        assert refused.status == 503 and refused.json()["error"]["code"] == "draining"
        assert ask("GET", f"{process.url}/health").status == 200
        until(lambda: "draining, 1 job to finish" in process.stderr())
        ask("GET", f"{process.url}/finish")
        rest = response.read()
        assert b'"type":"done"' in rest and rest.endswith(b"data: [DONE]\n\n")
        assert process.child.wait(5) == 0


def test_a_drain_ends_at_its_limit() -> None:
    with started([*SMALL, "draining=0.7"]) as process, stream_of(process, "/count") as response:
        began = time.monotonic()
        process.child.terminate()
        rest = response.read()
        assert 0.6 < time.monotonic() - began < 1.5
        assert b'"code":"draining"' in rest and rest.endswith(b"data: [DONE]\n\n")
        assert process.child.wait(5) == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_drain(second: signal.Signals) -> None:
    with started([*SMALL, "draining=60"]) as process, stream_of(process, "/count") as response:
        process.child.terminate()
        until(lambda: ask("GET", f"{process.url}/ready").status == 503)
        began = time.monotonic()
        process.child.send_signal(second)
        assert b'"code":"draining"' in response.read()
        assert process.child.wait(5) == 0
        assert time.monotonic() - began < IDLE_S


def test_two_signals_at_once_do_not_drain_at_all() -> None:
    with started([*SMALL, "draining=60"]) as process, stream_of(process, "/count"):
        began = time.monotonic()
        process.child.send_signal(signal.SIGTERM)
        process.child.send_signal(signal.SIGINT)
        assert process.child.wait(5) == 0
        assert time.monotonic() - began < IDLE_S


def test_who_sends_the_drain_signal_decides_how_long_it_takes() -> None:
    with started([*SMALL, "draining=0"]) as process, stream_of(process, "/count") as response:
        process.child.send_signal(DRAIN_SIGNAL)
        until(lambda: ask("GET", f"{process.url}/ready").status == 503)
        ask("GET", f"{process.url}/finish")
        assert b'"type":"done"' in response.read()
        assert process.child.wait(5) == 0


def test_a_limit_may_follow_a_drain_without_one() -> None:
    """A worker that its hive drains is ended by SIGTERM when that hive is gone: in its own time."""
    with started([*SMALL, "draining=0.4"]) as process, stream_of(process, "/count") as response:
        process.child.send_signal(DRAIN_SIGNAL)
        until(lambda: ask("GET", f"{process.url}/ready").status == 503)
        process.child.send_signal(DRAIN_SIGNAL)
        began = time.monotonic()
        process.child.send_signal(signal.SIGTERM)
        assert b'"code":"draining"' in response.read()
        assert process.child.wait(5) == 0
        assert time.monotonic() - began >= 0.4


def until(fact: Callable[[], bool]) -> None:
    ends = time.monotonic() + 5
    while not fact():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_a_crashing_loop_ends_the_process_loudly() -> None:
    with started([*SMALL, "crash"]) as process:
        assert process.child.wait(10) == 1
        assert "a loop crashed" in process.stderr()


def test_a_port_in_use_is_one_line() -> None:
    with server.listen("127.0.0.1", 0) as made:
        command = [*SMALL, f"port={taken_port(made)}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=20, check=False)
    assert done.returncode == 1 and done.stdout == b""
    assert done.stderr.startswith(b"port_in_use: ") and done.stderr.count(b"\n") == 1


def test_an_idle_connection_outlives_our_own_clients_patience() -> None:
    """Else a request could be sent into a connection that the server is closing."""
    assert server.KEEP_ALIVE_S > CLIENT_IDLE_S
