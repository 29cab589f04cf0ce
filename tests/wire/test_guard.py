"""What is refused before any route sees it, over real sockets."""

from __future__ import annotations

import socket

import anyio
import pytest
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from rbee.wire import codec, guard
from rbee.wire.guard import host_of, is_loopback, known_hosts
from rbee.wire.openapi import Endpoint
from rbee.wire.replies import reply
from tests.wire.harness import application_of, port_of, raw, serving

MAX = 100_000
MEGABYTES_10 = 10 * 1024 * 1024

HOSTS = {
    "localhost": "localhost",
    "LocalHost:7833": "localhost",
    "127.0.0.1:80": "127.0.0.1",
    "[::1]:7833": "::1",
    "[::1]": "::1",
    "::1": "::1",
    "[FE80::1]:1": "fe80::1",
    " localhost ": "localhost",
    "": "",
    ":80": "",
    "evil.com:7833": "evil.com",
    "[::1": "::1",
}


@pytest.mark.parametrize("header", HOSTS)
def test_the_name_in_a_host_header(header: str) -> None:
    assert host_of(header) == HOSTS[header]


KNOWN = ["localhost", "localhost:1", "LOCALHOST", "127.0.0.1", "127.0.0.1:9", "[::1]:9", "::1"]
NEVER = [
    "",
    "evil.com",
    "evil.com:7833",
    "localhost.evil.com",
    "127.0.0.1.evil.com",
    "evil.com@localhost",
    "localhost@evil.com",
    "localhost/evil",
    "localhost.",
    "*",
    "null",
]


@pytest.mark.parametrize("bind", ["127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "192.0.2.7"])
@pytest.mark.parametrize("header", KNOWN + NEVER)
def test_names_on_every_bind(bind: str, header: str) -> None:
    assert (host_of(header) in known_hosts(bind)) == (header in KNOWN)


def test_further_names() -> None:
    own = socket.gethostname().lower()
    assert own not in known_hosts("127.0.0.1") - {"localhost"}
    assert own in known_hosts("0.0.0.0")
    assert "192.0.2.7" in known_hosts("192.0.2.7")
    assert "gpu.example.org" in known_hosts("127.0.0.1", ["GPU.example.org"])


@pytest.mark.parametrize(
    ("bind", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("127.evil.com", False),
        ("localhost.evil.com", False),
        ("", False),
    ],
)
def test_what_only_this_machine_reaches(bind: str, expected: bool) -> None:
    assert is_loopback(bind) == expected


async def _echo(request: Request) -> Response:
    return reply({"size": len(await request.body())})


async def _deaf(request: Request) -> Response:
    return reply({"size": 0})


ENDPOINTS = [
    Endpoint("POST", "/echo", _echo, "Echo"),
    Endpoint("GET", "/echo", _echo, "Echo"),
    Endpoint("DELETE", "/echo", _echo, "Echo"),
    Endpoint("POST", "/deaf", _deaf, "Answers without reading"),
]


async def ask(url: str, lines: list[str], body: bytes = b"") -> tuple[int, dict[str, object]]:
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    answer, content = await raw(port_of(url), head + body)
    return int(answer.split()[1]), codec.decode(content, dict)


JSON = "content-type: application/json"
ORIGINS = [
    ("POST", "localhost:7833", None, 200),
    ("POST", "localhost:7833", "http://localhost:7833", 200),
    ("POST", "LOCALHOST:7833", "http://localhost:7833", 200),
    ("POST", "[::1]:7833", "http://[::1]:7833", 200),
    ("POST", "localhost:7833", "http://localhost:7834", 403),
    ("POST", "localhost:7833", "http://localhost", 403),
    ("POST", "localhost:7833", "http://127.0.0.1:7833", 403),
    ("POST", "localhost:7833", "http://evil.com", 403),
    ("POST", "localhost:7833", "http://localhost:7833.evil.com", 403),
    ("POST", "localhost:7833", "http://evil.com@localhost:7833", 403),
    ("POST", "localhost:7833", "null", 403),
    ("POST", "localhost:7833", "", 403),
    ("POST", "localhost:7833", "http://[evil", 403),
    ("POST", "localhost:7833", "http://\u00e9", 403),
    ("DELETE", "localhost:7833", "http://evil.com", 403),
    ("GET", "localhost:7833", "http://evil.com", 200),
    ("GET", "evil.com", None, 403),
    ("GET", "evil.com", "http://evil.com", 403),
    ("POST", "evil.com", "http://evil.com", 403),
]


@pytest.mark.anyio
async def test_host_and_origin() -> None:
    async with serving(application_of(ENDPOINTS)) as url:
        for method, host, origin, status in ORIGINS:
            lines = [f"{method} /echo HTTP/1.1", f"host: {host}", JSON, "content-length: 0"]
            lines += [] if origin is None else [f"origin: {origin}"]
            assert (await ask(url, lines))[0] == status, (method, host, origin)


@pytest.mark.anyio
async def test_a_missing_host() -> None:
    async with serving(application_of(ENDPOINTS)) as url:
        status, body = await ask(url, ["GET /echo HTTP/1.0", "connection: keep-alive"])
        assert status == 403
        assert "not known as ''" in str(body)


@pytest.mark.anyio
@pytest.mark.parametrize(("size", "status"), [(1_000, 200), (70_000, 431)])
async def test_headers_are_bounded(size: int, status: int) -> None:
    async with serving(application_of(ENDPOINTS)) as url:
        lines = ["POST /echo HTTP/1.1", "host: localhost", JSON, "content-length: 0"]
        assert (await ask(url, [*lines, f"x-much: {'m' * size}"]))[0] == status


MEDIA = [
    ("application/json", 200),
    ("Application/JSON; charset=utf-8", 200),
    ("text/plain", 415),
    ("application/x-www-form-urlencoded", 415),
    ("multipart/form-data; boundary=x", 415),
    ("application/jsonp", 415),
    ("", 415),
    (None, 415),
]


@pytest.mark.anyio
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_is_json(chunked: bool) -> None:
    body = b"2\r\n{}\r\n0\r\n\r\n" if chunked else b"{}"
    length = "transfer-encoding: chunked" if chunked else "content-length: 2"
    async with serving(application_of(ENDPOINTS)) as url:
        for media, status in MEDIA:
            lines = ["POST /echo HTTP/1.1", "host: localhost", length]
            lines += [] if media is None else [f"content-type: {media}"]
            assert (await ask(url, lines, body))[0] == status, media


@pytest.mark.anyio
async def test_no_body_needs_no_type() -> None:
    async with serving(application_of(ENDPOINTS)) as url:
        for method in ("POST", "DELETE", "GET"):
            assert (await ask(url, [f"{method} /echo HTTP/1.1", "host: localhost"]))[0] == 200


def as_chunks(body: bytes, size: int = 60_000) -> bytes:
    cut = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in cut) + b"0\r\n\r\n"


@pytest.mark.anyio
@pytest.mark.parametrize("size", [MAX - 1, MAX, MAX + 1, 3 * MAX])
@pytest.mark.parametrize("chunked", [False, True])
async def test_the_size_of_a_body(size: int, chunked: bool) -> None:
    body = b"x" * size
    length = "transfer-encoding: chunked" if chunked else f"content-length: {size}"
    async with serving(application_of(ENDPOINTS, max_body_bytes=MAX)) as url:
        lines = ["POST /echo HTTP/1.1", "host: localhost", JSON, length]
        status, answer = await ask(url, lines, as_chunks(body) if chunked else body)
    if size <= MAX:
        assert (status, answer) == (200, {"size": size})
    else:
        assert status == 413
        assert "larger than 100000 bytes" in str(answer)


@pytest.mark.anyio
async def test_a_client_that_never_sends_what_it_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "DRAIN_S", 0.1)
    lines = ["POST /echo HTTP/1.1", "host: localhost", JSON, f"content-length: {MAX + 1}"]
    async with serving(application_of(ENDPOINTS, max_body_bytes=MAX)) as url:
        assert (await ask(url, lines, b"only this"))[0] == 413


@pytest.mark.anyio
async def test_a_client_silent_within_its_body_counts_as_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "SILENCE_S", 0.1)
    lines = ["POST /echo HTTP/1.1", "host: localhost", JSON, "content-length: 10"]
    async with serving(application_of(ENDPOINTS)) as url:
        assert (await ask(url, lines, b"{"))[0] == 499


def send_all_then_read(port: int, request: bytes, chunk: int = 65_536) -> bytes:
    """As curl does without Expect: the whole body is written before the answer is read.

    Anything but a readable answer (a reset) raises."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as made:
        for start in range(0, len(request), chunk):
            made.sendall(request[start : start + chunk])
        made.settimeout(20)
        got = b""
        while b"}" not in got and (more := made.recv(65_536)):
            got += more
        return got


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/echo", "/deaf", "/nowhere"])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("connection", ["keep-alive", "close"])
async def test_ten_megabytes_get_a_readable_answer(
    path: str, chunked: bool, connection: str
) -> None:
    if chunked and path != "/echo" and connection == "close":
        pytest.skip("the route answers without reading; whoever closes then is reset")
    body = b'"' + b"x" * MEGABYTES_10 + b'"'
    length = "transfer-encoding: chunked" if chunked else f"content-length: {len(body)}"
    last = f"connection: {connection}"
    head = "\r\n".join([f"POST {path} HTTP/1.1", "host: localhost", JSON, length, last, "", ""])
    request = head.encode() + (as_chunks(body) if chunked else body)
    async with serving(application_of(ENDPOINTS)) as url:
        with anyio.fail_after(30):
            got = await to_thread.run_sync(send_all_then_read, port_of(url), request)
        after, _ = await raw(port_of(url), b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert after.startswith(b"HTTP/1.1 200")
    if not chunked:
        assert got.startswith(b"HTTP/1.1 413 ") and b'"too_large"' in got
    elif path == "/echo":
        assert got.startswith(b"HTTP/1.1 413 ")
    else:  # nobody reads the body, so nobody counts it: the route answers as it does
        assert got.startswith(b"HTTP/1.1 ")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("line", "status"),
    [("content-type: text/plain", 415), ("origin: http://evil.com", 403), ("host: evil.com", 403)],
)
@pytest.mark.parametrize("connection", ["keep-alive", "close"])
async def test_a_large_body_that_is_refused_for_another_reason(
    line: str, status: int, connection: str
) -> None:
    body = b"x" * (4 * 1024 * 1024)
    host = [] if line.startswith("host") else ["host: localhost"]
    media = [] if line.startswith("content-type") else [JSON]
    lines = ["POST /echo HTTP/1.1", *host, *media, line, f"connection: {connection}"]
    lines += [f"content-length: {len(body)}", "", ""]
    async with serving(application_of(ENDPOINTS)) as url:
        with anyio.fail_after(30):
            request = "\r\n".join(lines).encode() + body
            got = await to_thread.run_sync(send_all_then_read, port_of(url), request)
    assert got.startswith(b"HTTP/1.1 %d " % status)
