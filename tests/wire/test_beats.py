"""Heartbeats against a real queen-like server: on time, at once on a change, never giving up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response

from rbee.contracts.fleet import Beat, BeatAck, HiveBeat
from rbee.errors import Unavailable
from rbee.wire import beats, codec, server
from rbee.wire.beats import (
    FAREWELL_S,
    JITTER,
    MIN_GAP_S,
    RETRY_S,
    Beater,
    Beaters,
    retry_s,
)
from rbee.wire.http import Http
from rbee.wire.openapi import Endpoint
from rbee.wire.replies import reply
from tests.wire.harness import LIMIT_S, application_of, serving, until

pytestmark = pytest.mark.anyio


@dataclass
class Queen:
    """Notes every beat with its time."""

    next_s: float = 3_600.0
    failing: bool = False
    refused: int = 0
    got: list[HiveBeat] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    async def heartbeat(self, request: Request) -> Response:
        if self.failing:
            self.refused += 1
            raise Unavailable("Not now.")
        self.got.append(codec.decode(await request.body(), Beat))
        self.times.append(anyio.current_time())
        return reply(BeatAck(self.next_s, "q"))

    @property
    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("POST", "/v1/heartbeats", self.heartbeat, "Beat", Beat, BeatAck)]


@dataclass
class Hive:
    """Whose state the beats carry."""

    hostname: str = "first"

    def snapshot(self, seq: int) -> HiveBeat:
        return HiveBeat(
            id="h",
            incarnation="i",
            seq=seq,
            url="",
            hostname=self.hostname,
            state="ready",
            devices=[],
            models=[],
            workers=[],
            memory_total=1,
            memory_free=1,
        )


@asynccontextmanager
async def beating(url: str, hive: Hive) -> AsyncIterator[Beater]:
    async with Http() as http, anyio.create_task_group() as group:
        beater = Beater(http, url, hive.snapshot)
        group.start_soon(beater.loop)
        yield beater
        group.cancel_scope.cancel()


async def test_beats_come_when_the_queen_wants_them() -> None:
    queen = Queen(next_s=0.1)
    async with serving(application_of(queen.endpoints)) as url, beating(url, Hive()):
        await until(lambda: len(queen.got) >= 6)
    assert [beat.seq for beat in queen.got] == list(range(1, len(queen.got) + 1))
    gaps = [b - a for a, b in zip(queen.times, queen.times[1:], strict=False)]
    assert all(gap > 0.095 for gap in gaps)
    queen = Queen(next_s=3_600.0)
    async with serving(application_of(queen.endpoints)) as url, beating(url, Hive()):
        await until(lambda: len(queen.got) == 1)
        await anyio.sleep(0.2)
    assert len(queen.got) == 1


async def test_a_change_is_told_at_once() -> None:
    queen, hive = Queen(), Hive()
    async with serving(application_of(queen.endpoints)) as url, beating(url, hive) as beater:
        await until(lambda: len(queen.got) == 1)
        hive.hostname = "second"
        beater.poke()
        await until(lambda: len(queen.got) == 2)
    assert [beat.hostname for beat in queen.got] == ["first", "second"]


async def test_many_changes_are_few_beats_and_the_last_state_is_told() -> None:
    queen, hive = Queen(), Hive()
    async with serving(application_of(queen.endpoints)) as url, beating(url, hive) as beater:
        for number in range(200):
            hive.hostname = str(number)
            beater.poke()
            await anyio.sleep(0.001)
        await until(lambda: bool(queen.got) and queen.got[-1].hostname == "199")
    gaps = [b - a for a, b in zip(queen.times, queen.times[1:], strict=False)]
    assert all(gap > MIN_GAP_S * 0.8 for gap in gaps)
    assert len(queen.got) < 60


async def test_a_change_during_a_beat_is_not_lost() -> None:
    """The state is read when the beat is made; what changes while it travels needs another."""
    queen, hive = Queen(), Hive()
    inside, go = anyio.Event(), anyio.Event()

    async def slow(request: Request) -> Response:
        answer = await queen.heartbeat(request)
        inside.set()
        await go.wait()
        return answer

    endpoints = [Endpoint("POST", "/v1/heartbeats", slow, "Beat")]
    async with serving(application_of(endpoints)) as url, beating(url, hive) as beater:
        await inside.wait()
        hive.hostname = "second"
        beater.poke()
        go.set()
        await until(lambda: queen.got[-1].hostname == "second")


async def test_a_queen_that_comes_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beats, "RETRY_S", 0.05)
    with server.listen("127.0.0.1", 0) as made:
        port, url = made.getsockname()[1], server.url_of(made)
    tried = 0
    hive = Hive()

    class Counted(Hive):
        def snapshot(self, seq: int) -> HiveBeat:
            nonlocal tried
            tried = seq
            return hive.snapshot(seq)

    queen = Queen(next_s=0.05)
    async with beating(url, Counted()):
        await until(lambda: tried >= 3)
        async with serving(application_of(queen.endpoints), port=port):
            await until(lambda: len(queen.got) >= 2)
        gone = tried
        await until(lambda: tried >= gone + 3)
        again = len(queen.got)
        async with serving(application_of(queen.endpoints), port=port):
            await until(lambda: len(queen.got) >= again + 2)


@given(st.floats(MIN_GAP_S, 3_600), st.floats(0, 1))
def test_a_retry_is_never_later_than_a_beat_or_a_second(told: float, chance: float) -> None:
    bound = min(RETRY_S, told)
    assert (1 - JITTER) * bound <= retry_s(told, chance) <= bound == retry_s(told, 0.0)


async def test_an_unheard_beat_is_sent_again_as_soon_as_the_queen_wished_for_one() -> None:
    """With a second between them, `RETRY_S`, these would take longer than the test may."""
    queen = Queen(next_s=0.05)
    async with serving(application_of(queen.endpoints)) as url, beating(url, Hive()):
        await until(lambda: len(queen.got) == 1)
        queen.failing = True
        await until(lambda: queen.refused >= 20)
        queen.failing = False
        seen = len(queen.got)
        await until(lambda: len(queen.got) > seen)


async def test_a_queen_that_refuses_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beats, "RETRY_S", 0.02)
    queen = Queen(failing=True)
    async with serving(application_of(queen.endpoints)) as url, beating(url, Hive()):
        await anyio.sleep(0.1)
        queen.failing = False
        await until(lambda: len(queen.got) == 1)
    assert queen.got[0].seq > 2


async def test_a_farewell_is_one_beat() -> None:
    queen = Queen()
    async with serving(application_of(queen.endpoints)) as url, Http() as http:
        beater = Beater(http, url, Hive().snapshot)
        with anyio.CancelScope() as dying:
            dying.cancel()
            await beater.farewell()  # also while everything around is being cancelled
    assert len(queen.got) == 1


async def test_a_farewell_to_deaf_queens_is_soon_over() -> None:
    with server.listen("127.0.0.1", 0) as one, server.listen("127.0.0.1", 0) as two:
        async with Http() as http:
            beaters = Beaters(http, map(server.url_of, (one, two)), Hive().snapshot)
            began = anyio.current_time()
            with anyio.fail_after(LIMIT_S):
                await beaters.farewell()
            assert anyio.current_time() - began < 2 * FAREWELL_S


async def test_every_queen_hears_of_the_same_life_and_a_deaf_one_delays_nobody() -> None:
    """One queen under two names stands for two."""
    queen, hive = Queen(), Hive()
    with server.listen("127.0.0.1", 0) as deaf:
        async with (
            serving(application_of(queen.endpoints)) as url,
            Http() as http,
            anyio.create_task_group() as group,
        ):
            names = [url, server.url_of(deaf), url.replace("127.0.0.1", "localhost")]
            beaters = Beaters(http, names, hive.snapshot)
            group.start_soon(beaters.loop)
            await until(lambda: len(queen.got) == 2)
            hive.hostname = "second"
            beaters.poke()
            await until(lambda: len(queen.got) == 4)
            group.cancel_scope.cancel()
            await beaters.farewell()
    assert [beat.seq for beat in queen.got] == [1, 1, 2, 2, 3, 3]
    assert [beat.hostname for beat in queen.got[2:]] == ["second"] * 4


async def test_a_silence_is_told_from_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is acknowledged is heard until the next beat fails, however long that takes."""
    monkeypatch.setattr(beats, "RETRY_S", 0.02)
    queen = Queen()
    async with serving(application_of(queen.endpoints)) as url, beating(url, Hive()) as beater:
        await until(lambda: len(queen.got) == 1)
        await anyio.sleep(0.05)
        assert beater.unheard_s == 0
        queen.failing = True
        beater.poke()
        await until(lambda: beater.unheard_s > 0.05)
        queen.failing = False
        await until(lambda: beater.unheard_s == 0)


async def test_no_queen_named_means_no_beats() -> None:
    async with Http() as http:
        for nobody in (Beater(http, "", Hive().snapshot), Beaters(http, [], Hive().snapshot)):
            with anyio.fail_after(1):
                await nobody.loop()
                await nobody.farewell()
