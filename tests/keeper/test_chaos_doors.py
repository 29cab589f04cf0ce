"""What chaos hears by OpenAI's doors, and how long it asks: against a server that says what it is
told to say."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.contracts.events import Moved
from rbee.errors import Upstream
from rbee.keeper.chaos.asks import Ask
from rbee.keeper.chaos.cancel import used
from rbee.keeper.chaos.doors import Doors
from rbee.keeper.chaos.fleet import Fleet, Seat
from rbee.keeper.chaos.heard import Heard
from rbee.keeper.chaos.notes import Asides
from rbee.keeper.chaos.outcome import Outcome
from rbee.keeper.chaos.plan import Door
from rbee.keeper.chaos.rounds import undisturbed
from rbee.queen.openai.chat import aside
from rbee.wire.http import Http
from tests.keeper.command import Rbee

pytestmark = pytest.mark.anyio
ASK = Ask("completions", "completions", {"prompt": "some"})
REFUSED = json.dumps({"error": {"code": "draining", "message": "Not now."}}).encode()
DONE = b"data: [DONE]\n\n"


def text(said: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "text": said}]}).encode() + b"\n\n"


def http_answer(body: bytes, status: int = 200) -> bytes:
    return b"HTTP/1.1 %d Some\r\nConnection: close\r\n\r\n%b" % (status, body)


@asynccontextmanager
async def saying(*answers: bytes) -> AsyncIterator[Doors]:
    """Doors to a server that gives these answers in turn, and the last one again and again."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Doors([f"http://127.0.0.1:{port}"]) as doors:
        yield doors


@pytest.mark.parametrize("door", ["chat", "completions"])
async def test_patience_ends_though_the_server_answers_each_time(door: Door) -> None:
    async with saying(http_answer(REFUSED, 503)) as doors:
        began = time.monotonic()
        heard = await doors.ask(Ask("some", door, {}), patience_s=0.6)
    assert heard.code == "draining" and heard.again >= 2
    assert 0.6 <= time.monotonic() - began < 5.0
    assert began <= heard.began < heard.sent < heard.answered


async def test_who_is_turned_away_at_first_is_answered_within_his_patience() -> None:
    whole = http_answer(text("all") + DONE)
    async with saying(http_answer(REFUSED, 503), whole) as doors:
        heard = await doors.ask(ASK, patience_s=5.0)
    assert (heard.code, heard.again, heard.text()) == ("", 1, "all")


async def test_openai_tells_in_comments_how_often_an_answer_moved() -> None:
    said = text("a") + b": moved, 1 times\n\n" + text("b") + b": moved, 2 times\n\n" + DONE
    async with saying(http_answer(said)) as doors:
        heard = await doors.ask(ASK)
    assert (heard.migrations, heard.text(), heard.code) == (2, "ab", "")


@given(st.integers(0, 40), st.lists(st.integers(1, 80)))
async def test_moves_are_counted_wherever_the_network_cuts(moves: int, cuts: Sequence[int]) -> None:
    told = [aside(Moved(worker_id="w", why="it died", migrations=n + 1)) for n in range(moves)]
    data = text("x" * 100) + text("y").join(told) + text(": moved, 99 times") + b": keep-alive\n\n"
    asides, at = Asides(), 0
    for size in (*cuts, len(data)):
        counted = asides.feed(data[at : at + size])
        at += size
    assert counted == moves


async def test_what_fails_beside_others_is_wrong_and_stays_known() -> None:
    whole, cut = http_answer(text("all") + DONE), http_answer(text("a"))
    outcome = Outcome(1)
    async with saying(whole, cut) as doors:
        known = await undisturbed([ASK], doors, outcome)
    assert known["completions"].texts == ("all",)
    assert outcome.wrong == [
        "completions failed beside others (broke_off): The stream ended without [DONE]."
    ]


async def test_what_differs_beside_others_is_left_out() -> None:
    outcome = Outcome(1)
    async with saying(http_answer(text("all") + DONE), http_answer(text("ill") + DONE)) as doors:
        assert not await undisturbed([ASK], doors, outcome)
    assert not outcome.wrong


async def test_a_worker_that_does_not_tell_is_not_free(fleet: Rbee) -> None:
    async with Http() as http:
        looked_at = Fleet(http, (fleet.queen,), {})
        assert await used(looked_at) == (0, 0)
        looked_at.seats = [Seat("gone", 1, "http://127.0.0.1:1", "nest")]
        with pytest.raises(Upstream, match="gone does not tell its state"):
            await used(looked_at)


def test_a_request_is_wanted_from_when_it_is_made() -> None:
    assert Heard("some").began > 0.0 == Heard("some").sent
