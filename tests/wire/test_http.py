"""The client between roles: whatever the other side does, a named error or the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketStream
from starlette.requests import Request
from starlette.responses import Response

from rbee.contracts.answers import Deleted
from rbee.contracts.events import AnyEvent, Done, Token
from rbee.contracts.operations import ModelDelete
from rbee.errors import BY_CODE, Late, RbeeError, ServerGone, Upstream, from_code
from rbee.wire import codec, http, server, sse
from rbee.wire.http import Http
from rbee.wire.openapi import Endpoint
from rbee.wire.replies import error_reply, reply
from tests.wire.harness import LIMIT_S, application_of, read_until, serving, until

pytestmark = pytest.mark.anyio
Behaviour = Callable[[SocketStream], Awaitable[None]]
SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
TOKEN = Token(index=0, text="x", token_ids=[1])
DONE = Done(finish_reason="stop")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@asynccontextmanager
async def peer(behaviour: Behaviour) -> AsyncIterator[str]:
    """A server that speaks HTTP as badly as `behaviour` does, after it has read the head."""

    async def handle(stream: SocketStream) -> None:
        async with stream:
            await read_until(stream, b"\r\n\r\n")
            await behaviour(stream)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, handle)
        yield f"http://127.0.0.1:{port}"
        group.cancel_scope.cancel()


def says(*parts: bytes) -> Behaviour:
    async def behaviour(stream: SocketStream) -> None:
        for part in parts:
            await stream.send(part)

    return behaviour


async def silence(stream: SocketStream) -> None:
    await anyio.sleep_forever()


def then_silence(*parts: bytes) -> Behaviour:
    async def behaviour(stream: SocketStream) -> None:
        await says(*parts)(stream)
        await anyio.sleep_forever()

    return behaviour


def whole(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


async def call(url: str, timeout_s: float = LIMIT_S) -> Deleted:
    async with Http() as client:
        found: Deleted = await client.call("GET", f"{url}/x", Deleted, timeout_s=timeout_s)
        return found


async def listen(url: str, silence_s: float = LIMIT_S) -> list[AnyEvent]:
    got: list[AnyEvent] = []
    with anyio.fail_after(LIMIT_S):
        async with Http() as client, client.events("GET", url, silence_s=silence_s) as stream:
            async for events in stream:
                got += events
    return got


async def test_an_answer() -> None:
    async with peer(says(whole(b'{"deleted":"x"}'))) as url:
        assert await call(url) == Deleted("x")


async def test_nobody_there() -> None:
    with server.listen("127.0.0.1", 0) as made:
        url = server.url_of(made)
    with pytest.raises(ServerGone) as caught:
        await call(url)
    assert url in caught.value.message
    with pytest.raises(ServerGone):
        await listen(url)


async def test_no_such_host() -> None:
    with pytest.raises(ServerGone):
        await call("http://no.such.host.invalid:1")


BROKEN = {
    "closes at once": says(),
    "no HTTP": says(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "half a head": says(b"HTTP/1.1 200 OK\r\ncontent-le"),
    "half a body": says(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"),
    "half a chunk": says(b"HTTP/1.1 200 OK\r\n", CHUNKED, b"100\r\n{"),
    "another answer": says(whole(b'{"removed":"x"}')),
    "no JSON": says(whole(b"<html>")),
    "an error in HTML": says(whole(b"<html>", b"502 Bad Gateway")),
    "an error without a body": says(whole(b"", b"500 Oh")),
}


@pytest.mark.parametrize("behaviour", BROKEN.values(), ids=BROKEN)
async def test_a_broken_answer_is_the_peers_fault(behaviour: Behaviour) -> None:
    async with peer(behaviour) as url:
        with pytest.raises(Upstream) as caught:
            await call(url)
    assert type(caught.value) is Upstream and url in caught.value.message


async def test_an_endless_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_ANSWER_BYTES", 1_000)
    async with peer(says(whole(b"x" * 1_001))) as url:
        with pytest.raises(Upstream, match="more than 1000 bytes"):
            await call(url)


@pytest.mark.parametrize(
    "behaviour",
    [silence, then_silence(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{")],
    ids=["no head", "half a body"],
)
async def test_silence_is_late(behaviour: Behaviour) -> None:
    async with peer(behaviour) as url:
        with pytest.raises(Late):
            await call(url, timeout_s=0.1)


async def test_a_stream_that_falls_silent_is_late() -> None:
    talk = SSE + CHUNKED + chunk(sse.frame(codec.encode(TOKEN)))
    async with peer(then_silence(talk)) as url:
        with pytest.raises(Late):
            await listen(url, silence_s=0.1)
    async with peer(silence) as url:
        with pytest.raises(Late):
            await listen(url, silence_s=0.1)


async def test_comments_keep_a_stream_from_being_late() -> None:
    async def slowly(stream: SocketStream) -> None:
        await stream.send(SSE + CHUNKED)
        for _ in range(5):
            await anyio.sleep(0.1)
            await stream.send(chunk(sse.KEEP_ALIVE))
        await stream.send(chunk(sse.frame(codec.encode(DONE)) + sse.DONE))

    async with peer(slowly) as url:
        assert await listen(url, silence_s=0.3) == [DONE]


BROKEN_STREAMS = {
    "cut": says(SSE, CHUNKED, chunk(sse.frame(codec.encode(TOKEN)))),
    "cut inside a frame": says(SSE, CHUNKED, b"100\r\ndata: {"),
    "no event": says(SSE, CHUNKED, chunk(b'data: {"type":"dance"}\n\n')),
    "no JSON": says(SSE, CHUNKED, chunk(b"data: hello\n\n")),
    "an endless event": then_silence(SSE, CHUNKED, chunk(b"data: " + b"x" * 17_000_000)),
}


@pytest.mark.parametrize("behaviour", BROKEN_STREAMS.values(), ids=BROKEN_STREAMS)
async def test_a_broken_stream_is_the_peers_fault(behaviour: Behaviour) -> None:
    async with peer(behaviour) as url:
        with pytest.raises(Upstream) as caught:
            await listen(url)
    assert type(caught.value) is Upstream


async def test_what_came_before_the_cut_is_told_first() -> None:
    got: list[AnyEvent] = []
    async with peer(BROKEN_STREAMS["cut"]) as url, Http() as client:
        with pytest.raises(Upstream):
            async with client.events("GET", url) as stream:
                async for events in stream:
                    got += events
    assert got == [TOKEN]


async def test_leaving_a_stream_closes_its_connection() -> None:
    left = anyio.Event()

    async def talk(stream: SocketStream) -> None:
        await stream.send(SSE + CHUNKED + chunk(sse.frame(codec.encode(TOKEN))))
        try:
            await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            left.set()

    async with peer(talk) as url, Http() as client:
        async with client.events("GET", url) as stream:
            assert await anext(stream) == [TOKEN]
        await until(left.is_set)


@pytest.mark.parametrize("streamed", [False, True])
async def test_every_error_crosses_as_itself(streamed: bool) -> None:
    async def refuse(request: Request) -> Response:
        exc = from_code(request.path_params["code"], "It broke.", hint="mend it", path="$.a[0]")
        exc.retry_after_s = 1.5
        return error_reply(exc)

    endpoints = [Endpoint("GET", "/{code}", refuse, "Refuse")]
    async with serving(application_of(endpoints)) as url, Http() as client:
        for code, kind in BY_CODE.items():
            with pytest.raises(RbeeError) as caught:
                if streamed:
                    async with client.events("GET", f"{url}/{code}"):
                        raise AssertionError("entered")
                await client.call("GET", f"{url}/{code}", Deleted)
            exc = caught.value
            assert type(exc) is kind
            assert (exc.message, exc.hint, exc.path) == ("It broke.", "mend it", "$.a[0]")
            assert exc.retry_after_s == 1.5


async def test_a_body_arrives_as_what_it_was() -> None:
    async def echo(request: Request) -> Response:
        operation: ModelDelete = codec.decode(await request.body(), ModelDelete)
        return reply(Deleted(f"{operation.model} {request.headers['x-more']}"))

    endpoints = [Endpoint("POST", "/x", echo, "Echo")]
    async with serving(application_of(endpoints)) as url, Http() as client:
        body = ModelDelete(model="bee")
        more = {"X-More": "1"}
        assert await client.call("POST", f"{url}/x", Deleted, body, headers=more) == Deleted(
            "bee 1"
        )


async def test_it_is_a_context_manager() -> None:
    with pytest.raises(RuntimeError):
        await Http().call("GET", "http://127.0.0.1:1", Deleted)
