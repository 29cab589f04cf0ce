"""Both clients over real sockets that break at every kind of place: what they join is the log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, get_args

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbee import errors
from rbee.client import AsyncClient, Client
from rbee.client.mending import learn_s
from rbee.client.queens import Tell
from rbee.contracts.events import AnyEvent
from rbee.wire import codec
from tests.client.frail import Fault, How, frail, log
from tests.client.stub import free_ports

PATIENCE_S, SILENCE_S = 3.0, 5.0
SHORT_S = 0.15
"""A silence to be waited for in a test; a busy machine is that silent at times."""
LIMIT_S = 20.0
EVENTS = log(["Hel", "lo", " wor", "ld", ""], waits=2)
Read = Callable[..., list[Any]]


def _sync(
    url: str,
    patience_s: float = PATIENCE_S,
    silence_s: float = SILENCE_S,
    tell: Tell | None = None,
    seen: Callable[[], Any] = lambda: None,
) -> list[Any]:
    got: list[Any] = []
    client = Client(url, silence_s=silence_s, patience_s=patience_s, tell=tell)
    with client.stream("Hi") as events:
        for event in events:
            got.append(codec.plain(event))
            seen()
    return got


def _async(
    url: str,
    patience_s: float = PATIENCE_S,
    silence_s: float = SILENCE_S,
    tell: Tell | None = None,
    seen: Callable[[], Any] = lambda: None,
) -> list[Any]:
    got: list[Any] = []

    async def run() -> None:
        async with (
            AsyncClient(url, silence_s=silence_s, patience_s=patience_s, tell=tell) as client,
            client.stream("Hi") as events,
        ):
            async for event in events:
                got.append(codec.plain(event))
                seen()

    anyio.run(run)
    return got


@pytest.fixture(params=[_sync, _async], ids=["sync", "async"])
def read(request: pytest.FixtureRequest) -> Read:
    found: Read = request.param
    return found


WHOLE = [codec.plain(codec.convert(event, AnyEvent)) for event in EVENTS]
STREAMS: list[How] = ["close", "end", "cut", "reset", "silence"]


@pytest.mark.parametrize("how", STREAMS)
@pytest.mark.parametrize("after", [0, 4])
def test_a_stream_that_breaks_is_joined_again(read: Read, how: How, after: int) -> None:
    faults = [Fault(how, after), Fault(how, 0), Fault(how, 1)]
    told: list[str] = []
    with frail(EVENTS, *faults) as queen:
        assert read(queen.url, silence_s=SHORT_S, tell=told.append) == WHOLE
    assert queen.posts == 1
    assert queen.deleted == []
    assert set(told) == {"the queen does not answer; trying again"}


@pytest.mark.parametrize("how", ["headless", "deaf"])
def test_a_request_whose_answer_never_began_is_looked_for_first(read: Read, how: How) -> None:
    patience_s = 1.0
    began = time.monotonic()
    with frail(EVENTS, Fault(how), Fault("close", 3)) as queen:
        assert read(queen.url, patience_s) == WHOLE
    methods = [asked.method for asked in queen.asked]
    assert methods[:2] == ["POST", "GET"]
    assert queen.posts == (1 if how == "headless" else 2)
    if how == "deaf":
        assert time.monotonic() - began >= learn_s(patience_s)
    names = {a.headers["x-rbee-job-id"] for a in queen.asked if a.method == "POST"}
    assert len(names) == 1


@pytest.mark.parametrize("how", ["draining", "unreachable"])
def test_a_queen_that_takes_no_work_is_asked_again(read: Read, how: How) -> None:
    with frail(EVENTS, Fault(how), Fault(how), Fault("reset", 2), Fault(how)) as queen:
        assert read(queen.url) == WHOLE
    assert [asked.method for asked in queen.asked] == ["POST"] * 3 + ["GET"] * 2


def test_a_job_that_was_lost_while_it_waited_is_asked_for_anew(read: Read) -> None:
    with frail(EVENTS, Fault("close", 2), Fault("forget")) as queen:
        queen.break_at = 2
        assert read(queen.url, 1.0, seen=queen.seen.release) == WHOLE[:2] + WHOLE
    assert queen.posts == 2


def test_a_job_that_was_lost_after_it_spoke_fails(read: Read) -> None:
    with frail(EVENTS, Fault("close", 3), Fault("forget")) as queen:
        queen.break_at = 3
        with pytest.raises(errors.Upstream, match="lost"):
            read(queen.url, 1.0, seen=queen.seen.release)
    assert queen.posts == 1


def test_wrong_numbers_are_an_error_and_the_job_is_left(read: Read) -> None:
    with frail(EVENTS, Fault("close", 3), Fault("shifted")) as queen:
        queen.break_at = 3
        with pytest.raises(errors.Upstream, match="event 4 where 3 was due"):
            read(queen.url, seen=queen.seen.release)
        assert len(queen.deleted) == 1


def test_patience_has_an_end(read: Read) -> None:
    began = time.monotonic()
    with frail(EVENTS, *[Fault("close", 3)], *[Fault("cut", 0)] * 50) as queen:
        with pytest.raises(errors.Upstream):
            read(queen.url, 0.6)
        assert 0.5 < time.monotonic() - began < 3


def test_a_queen_that_is_started_again_goes_on(read: Read) -> None:
    """The old one is killed in the middle of the stream, and another sits at her address."""
    [port] = free_ports(1)
    got: list[list[Any]] = []
    told: list[str] = []
    with frail(EVENTS, *[Fault("close", 3)], port=port) as first:
        reader = threading.Thread(
            target=lambda: got.append(read(first.url, 10.0, tell=told.append))
        )
        reader.start()
        _until(lambda: len(first.asked) == 1)
    jobs = [first.asked[0].headers["x-rbee-job-id"]]
    _until(lambda: len(told) > 2)  # nobody listens for a while
    with frail(EVENTS, Fault("draining"), port=port, jobs=jobs) as second:
        reader.join(LIMIT_S)
    assert got == [WHOLE]
    assert second.posts == 0


def _until(fact: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_of_several_queens_the_first_that_answers_is_asked(read: Read) -> None:
    [port] = free_ports(1)
    began = time.monotonic()
    with frail(EVENTS) as queen:
        assert read(f"http://127.0.0.1:{port},{queen.url}") == WHOLE
    assert time.monotonic() - began < 2
    assert queen.posts == 1


def test_another_queen_takes_over(read: Read) -> None:
    with frail(EVENTS) as second:
        with frail(EVENTS, Fault("close", 4), *[Fault("unreachable")] * 20) as first:
            second.jobs = first.jobs  # the workers tell every queen
            assert read(f"{first.url},{second.url}") == WHOLE
        assert (first.posts, second.posts) == (1, 0)


def test_one_who_was_never_there_is_told_at_once(read: Read) -> None:
    [port] = free_ports(1)
    began = time.monotonic()
    with pytest.raises(errors.ServerGone):
        read(f"http://127.0.0.1:{port}", 30.0)
    assert time.monotonic() - began < 2


def test_one_who_was_there_before_is_waited_for() -> None:
    [port] = free_ports(1)
    told: list[str] = []
    got: list[list[AnyEvent]] = []
    client = Client(f"http://127.0.0.1:{port}", patience_s=10.0, tell=told.append)

    def read() -> None:
        with client.stream("Hi") as events:
            got.append(list(events))

    with frail(EVENTS, port=port):
        read()
    reader = threading.Thread(target=read)
    reader.start()
    _until(lambda: len(told) > 1)
    with frail(EVENTS, port=port) as queen:
        reader.join(LIMIT_S)
    assert got[0] == got[1]
    assert queen.posts == 1


@given(
    st.lists(
        st.builds(
            Fault,
            st.sampled_from([h for h in get_args(How) if h in STREAMS]),
            st.integers(0, len(EVENTS)),
        ),
        max_size=3,
    ),
    st.sampled_from([_sync, _async]),
)
@settings(max_examples=12, deadline=None)
def test_wherever_it_breaks_the_joined_events_are_the_log(faults: list[Fault], read: Read) -> None:
    with frail(EVENTS, *faults) as queen:
        assert read(queen.url, silence_s=SHORT_S) == WHOLE
    assert queen.posts == 1


# Leaving


def test_leaving_says_so() -> None:
    with frail(EVENTS, Fault("silence", 3)) as queen:
        with Client(queen.url).stream("Hi") as events:
            for _ in zip(range(3), events, strict=False):
                pass
            path = f"/v1/jobs/{events.job_id}"
        assert queen.deleted == [path]


def test_an_iteration_that_is_dropped_says_so_too() -> None:
    with frail(EVENTS, Fault("silence", 3)) as queen:
        for _ in Client(queen.url).stream("Hi"):
            break
        _until(lambda: len(queen.deleted) == 1)


def test_leaving_says_so_before_the_answer_began() -> None:
    async def run(url: str) -> None:
        async with AsyncClient(url) as client:
            with anyio.move_on_after(0.2):
                async with client.stream("Hi"):
                    raise AssertionError("it never begins")

    with frail(EVENTS, Fault("mute")) as queen:
        anyio.run(run, queen.url)
        assert len(queen.deleted) == 1


def test_being_cancelled_says_so() -> None:
    async def run(url: str) -> None:
        async with AsyncClient(url) as client:
            with anyio.move_on_after(0.2):
                async with client.stream("Hi") as events:
                    async for _ in events:
                        pass

    with frail(EVENTS, Fault("silence", 3)) as queen:
        anyio.run(run, queen.url)
        assert len(queen.deleted) == 1


def test_a_whole_answer_needs_no_farewell(read: Read) -> None:
    with frail(EVENTS) as queen:
        read(queen.url)
    assert queen.deleted == []


def test_who_attaches_to_another_s_job_does_not_cancel_it() -> None:
    silent = Fault("silence", 3)
    with frail(EVENTS, silent, jobs=["job-x"]) as queen, Client(queen.url).attach("job-x") as job:
        next(iter(job))
    assert queen.deleted == []
