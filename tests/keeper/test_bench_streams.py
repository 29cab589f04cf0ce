"""The measuring client: what it makes of bytes that come in pieces, and the figures from them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from rbee.errors import Upstream
from rbee.keeper.bench.engine.streams import Stream, Streams, ran_together, rate, together

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LIMIT_S = 10.0


def token(index: int, *ids: int) -> bytes:
    """An event as uvicorn frames it."""
    listed = ",".join(map(str, ids))
    return chunk(
        f'data: {{"type":"token","index":{index},"text":"w","token_ids":[{listed}]}}\n\n'.encode()
    )


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


DONE = chunk(b'data: {"type":"done","usage":{"cached_tokens":7}}\n\ndata: [DONE]\n\n')
END = b"0\r\n\r\n"


@contextmanager
def server(*answers: Sequence[bytes]) -> Iterator[str]:
    """Answers one connection after the other, each piece in a write of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(LIMIT_S)

        def serve() -> None:
            for pieces in answers:
                made, _ = listening.accept()
                with made:
                    made.settimeout(LIMIT_S)
                    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    while b"\r\n\r\n" not in made.recv(65_536):
                        pass
                    for piece in pieces:
                        made.sendall(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(LIMIT_S)


def ask(url: str) -> Stream:
    (stream,) = together(url, "/", [b"{}"])
    return stream


def test_every_token_is_counted_once_however_the_bytes_are_cut() -> None:
    whole = HEAD + token(0, 5) + token(1, 6, 7) + DONE + END
    for size in (1, 7, len(whole)):
        pieces = [whole[i : i + size] for i in range(0, len(whole), size)]
        with server(pieces) as url:
            stream = ask(url)
        assert stream.ids() == [5, 6, 7]
        assert len(stream.marks()) == 3
        assert stream.usage() == {"cached_tokens": 7}
        assert stream.text() == "ww"
        assert stream.ended and stream.first_s() > 0


def test_several_streams_and_one_that_comes_later() -> None:
    whole = [HEAD, token(0, 5), token(1, 6), DONE, END]
    with server(whole, whole) as url, Streams(url) as streams:
        first = streams.start("/", b"{}")
        streams.read(lambda: first.arrivals > 0)
        second = streams.start("/", b"{}")
        streams.read()
    assert first.ids() == second.ids() == [5, 6]


def test_openai_events_count_as_a_token_each() -> None:
    event = b'data: {"choices":[{"text":"w1"}]}\n\n'
    last = b'data: {"choices":[{"text":"","finish_reason":"length"}]}\n\ndata: [DONE]\n\n'
    with server([b"HTTP/1.1 200 OK\r\n\r\n", event, event, last]) as url:
        assert len(ask(url).marks()) == 2


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b'HTTP/1.1 429 Too Many Requests\r\n\r\n{"error": {}}', "429"),
        (HEAD + chunk(b'data: {"type":"failed","message":"no luck"}\n\n') + END, "no luck"),
        (HEAD + token(0, 5), "broke off"),
    ],
)
def test_what_is_no_answer_is_an_error(said: bytes, message: str) -> None:
    with server([said]) as url, pytest.raises(Upstream, match=message):
        ask(url).usage()


class At(Stream):
    """A stream whose tokens came at given times."""

    def __init__(self, *marks: float) -> None:
        self.sent = -1.0
        self._marks = list(marks)

    def marks(self) -> list[float]:
        return self._marks


def test_the_rate_is_that_of_the_time_when_all_streams_run() -> None:
    early = At(0.0, 0.1, 1.0, 2.0, 3.0)
    late = At(1.0, 2.0, 3.0, 4.0, 4.1)
    assert rate([early, late]) == pytest.approx(2.0)
    assert ran_together([early, late])


def test_streams_that_never_ran_together_count_from_their_asking() -> None:
    assert rate([At(0.0, 1.0), At(3.0, 4.0)]) == pytest.approx(4 / 5)
    assert not ran_together([At(0.0, 1.0), At(3.0, 4.0)])
    assert rate([At(3.0, 3.0)]) == pytest.approx(2 / 4)


def test_tokens_that_came_together_are_one_arrival() -> None:
    stream = At(0.0, 1.0, 1.0, 3.0)
    assert stream.gaps() == [1.0, 2.0]
    assert stream.gaps(since=1.5) == [2.0]
    assert stream.gaps(until=1.5) == [1.0]
