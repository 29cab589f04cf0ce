"""One answer without a network: its bytes, cut and broken anywhere, and what servers answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.client.mending import LEARN_S
from rbee.client.pursuit import GRACE_HEADER, GRACE_S, HEAD_S, JOB_HEADER, SOUND_S, Pursuit
from rbee.client.queens import Hunt, Queens
from rbee.errors import (
    BadRequest,
    Conflict,
    Draining,
    Gone,
    JobNotFound,
    Late,
    Overloaded,
    RbeeError,
    ServerGone,
    Unavailable,
    Upstream,
)
from rbee.wire import sse
from tests.client.frail import log

PATIENCE_S, JOB = 30.0, "job-0123456789abcdef"
GONE, RESET, MUTE = ServerGone("Nobody."), Upstream("Reset."), Late("Silence.")
UNKNOWN, DRAINING = JobNotFound("Who?"), Draining("Not now.")
EVENTS = log(["a", "b"])


def pursuit(
    queens: int = 1, *, met: bool = True, own: bool = True, patience_s: float = PATIENCE_S
) -> Pursuit:
    known = Queens(tuple(f"http://queen-{n}:1" for n in range(queens)))
    known.met = met
    hunt = Hunt(known, patience_s, sent=not own)
    return Pursuit(hunt, {"operation": "infer"} if own else None, job_id=JOB, silence_s=30.0)


def frames(events: Sequence[dict[str, Any]], first: int = 0) -> bytes:
    numbered = list(enumerate(events))[first:]
    return b"".join(sse.frame(json.dumps(event).encode(), n) for n, event in numbered)


def read(reading: Pursuit, raw: bytes, now: float = 0.0) -> list[Any]:
    return [json.loads(data) for data, _ in reading.read(raw, now)]


def asked(reading: Pursuit) -> tuple[str, str]:
    request = reading.request()
    return request.method, request.url.partition(":1")[2]


ATTACH_0 = ("GET", f"/v1/jobs/{JOB}/stream?from=0")
POST = ("POST", "/v1/jobs")


def cut(data: st.DataObject, raw: bytes) -> list[bytes]:
    edges = data.draw(st.lists(st.integers(0, len(raw)), max_size=4))
    return [raw[a:b] for a, b in pairwise([0, *sorted(edges), len(raw)])]


@given(st.lists(st.text(max_size=4), max_size=6), st.integers(0, 3), st.integers(1, 3), st.data())
def test_the_joined_events_are_exactly_the_log(
    words: list[str], waits: int, queens: int, data: st.DataObject
) -> None:
    events = log(words, waits)
    reading, now, got = pursuit(queens), 0.0, list[Any]()
    breaks = data.draw(st.integers(0, 6))
    arrived = False
    while not reading.ended:
        now += data.draw(st.floats(0, 1))
        method, path = asked(reading)
        assert (method == "POST") is not arrived
        if breaks and data.draw(st.booleans()):
            breaks -= 1
            fault = data.draw(st.sampled_from([GONE, RESET, MUTE]))
            arrived = arrived or fault is not GONE
            now += reading.broke(fault, now)
            continue
        assert method == "POST" or path.endswith(f"?from={len(got)}")
        arrived = True
        reading.opened(JOB, now)
        raw = frames(events, reading.cursor)
        if breaks:
            breaks -= 1
            raw = raw[: data.draw(st.integers(0, len(raw)))]
        for chunk in cut(data, raw):
            got += read(reading, chunk, now)
        if not reading.ended:
            now += reading.broke(reading.broke_off(), now)
    assert got == events
    assert reading.farewell() == ""


def test_a_request_names_its_job_and_promises_to_say_when_it_leaves() -> None:
    reading = pursuit()
    request = reading.request()
    assert (request.headers[JOB_HEADER], request.headers[GRACE_HEADER]) == (JOB, str(GRACE_S))
    assert request.head_s == 30.0
    reading.opened(JOB, 0.0)
    again = reading.request()
    assert (again.method, again.head_s, again.headers[GRACE_HEADER]) == ("GET", HEAD_S, "30")


def test_the_server_may_call_the_job_otherwise() -> None:
    reading = pursuit()
    reading.request()
    reading.opened("job-x", 0.0)
    assert asked(reading) == ("GET", "/v1/jobs/job-x/stream?from=0")


@pytest.mark.parametrize("wrong", [0, 2, 7])
def test_a_wrong_number_is_neither_a_gap_nor_a_repetition(wrong: int) -> None:
    reading = pursuit()
    reading.opened(JOB, 0.0)
    assert read(reading, frames(EVENTS[:1])) == EVENTS[:1]
    with pytest.raises(Upstream, match=f"event {wrong} where 1 was due"):
        read(reading, sse.frame(b"{}", wrong))


def test_a_token_that_is_left_out_is_never_left_out_in_silence() -> None:
    """As after a queen's death, where the next one found what an earlier worker knew."""
    reading, events = pursuit(), log(["a", "b", "c"], waits=0)
    reading.opened(JOB, 0.0)
    assert read(reading, frames(events[:1])) == events[:1]
    reading.broke(RESET, 0.0)
    reading.opened(JOB, 0.0)
    with pytest.raises(Upstream, match="went on with token 2, and 1 was due"):
        read(reading, sse.frame(json.dumps(events[2]).encode(), 1))
    assert reading.ended


@pytest.mark.parametrize("raw", [b"id: x\ndata: {}\n\n", b'id: 0\ndata: {"type": "new"}\n\n'])
def test_what_cannot_be_read_is_the_servers_fault(raw: bytes) -> None:
    reading = pursuit()
    reading.opened(JOB, 0.0)
    with pytest.raises(Upstream, match="queen-0"):
        read(reading, raw)


def test_after_an_ambiguous_break_the_job_is_looked_for_and_then_asked_again() -> None:
    reading, now = pursuit(), 0.0
    assert asked(reading) == POST
    now += reading.broke(RESET, now)
    assert asked(reading) == ATTACH_0
    first = now
    while asked(reading) != POST:
        assert now - first < LEARN_S + 2
        now += reading.refused(UNKNOWN, now)
    assert now - first >= LEARN_S
    now += reading.refused(Conflict("It is here."), now)
    assert asked(reading) == ATTACH_0


def test_a_job_that_is_known_after_all_is_read() -> None:
    reading, now = pursuit(), 0.0
    reading.request()
    now += reading.broke(RESET, now)
    now += reading.refused(UNKNOWN, now)
    assert asked(reading) == ATTACH_0
    reading.opened(JOB, now)
    assert read(reading, frames(EVENTS)) == EVENTS


def lose(reading: Pursuit, now: float) -> float:
    """No queen knows the job; returns when it is asked for anew."""
    while asked(reading)[0] == "GET":
        now += reading.refused(UNKNOWN, now)
    return now


def test_who_only_waited_is_asked_for_anew_and_numbered_anew() -> None:
    reading = pursuit()
    reading.request()
    reading.opened(JOB, 0.0)
    read(reading, frames(EVENTS[:1]))
    now = lose(reading, reading.broke(GONE, 0.0))
    assert asked(reading) == POST
    reading.opened(JOB, now)
    assert read(reading, frames(EVENTS)) == EVENTS


def test_what_has_spoken_and_is_lost_fails_and_says_so() -> None:
    reading = pursuit()
    reading.request()
    reading.opened(JOB, 0.0)
    read(reading, frames(EVENTS[:2]))
    with pytest.raises(Upstream, match=f"lost: no queen knows {JOB}"):
        lose(reading, reading.broke(GONE, 0.0))
    assert reading.farewell() == ""


@pytest.mark.parametrize("error", [DRAINING, GONE])
def test_who_takes_no_work_is_asked_again(error: RbeeError) -> None:
    reading = pursuit(met=False)
    reading.request()
    assert reading.refused(error, 0.0) > 0
    assert asked(reading) == POST
    with pytest.raises(type(error)):
        reading.refused(error, PATIENCE_S)
    assert reading.farewell() == ""


@pytest.mark.parametrize("error", [Overloaded("x"), BadRequest("x"), Conflict("x"), Upstream("x")])
def test_any_other_answer_to_the_request_is_the_answer(error: RbeeError) -> None:
    reading = pursuit()
    reading.request()
    with pytest.raises(type(error)):
        reading.refused(error, 0.0)
    assert reading.farewell() == ""


def test_attaching_goes_on_over_a_queen_in_trouble_and_not_over_a_clear_no() -> None:
    reading = pursuit()
    reading.request()
    reading.opened(JOB, 0.0)
    reading.broke(RESET, 0.0)
    assert reading.refused(Unavailable("Later."), 1.0) > 0
    with pytest.raises(Gone):
        reading.refused(Gone("Too late."), 2.0)


def test_a_job_that_somebody_else_named_must_be_there() -> None:
    with pytest.raises(JobNotFound):
        pursuit(own=False).refused(UNKNOWN, 0.0)


def test_a_stranger_is_not_waited_for() -> None:
    with pytest.raises(ServerGone):
        pursuit(met=False).broke(GONE, 0.0)
    with pytest.raises(Late):
        pursuit(met=False).broke(MUTE, 30.0)
    assert pursuit(2, met=False).broke(GONE, 0.0) == 0.0


def test_the_queen_whose_stream_broke_is_tried_first_and_then_the_others() -> None:
    reading = pursuit(3)
    reading.opened(JOB, 0.0)
    tried = []
    now = reading.broke(RESET, 0.0)
    for _ in range(4):
        tried.append(reading.server)
        now += reading.broke(GONE, now)
    assert [server[-3] for server in tried] == ["0", "1", "2", "0"]


def test_patience_begins_anew_with_every_event() -> None:
    reading, now = pursuit(), 0.0
    for number in range(len(EVENTS) - 1):
        now += PATIENCE_S - 1
        reading.opened(JOB, now)
        read(reading, frames(EVENTS, number).partition(b"\n\n")[0] + b"\n\n", now)
        now += reading.broke(RESET, now)
    reading.opened(JOB, now)
    assert read(reading, frames(EVENTS, len(EVENTS) - 1)) == EVENTS[-1:]


@pytest.mark.parametrize(("lived_s", "survives"), [(0.0, False), (SOUND_S, True)])
def test_streams_that_only_open_are_no_progress(lived_s: float, survives: bool) -> None:
    reading, now = pursuit(), 0.0
    reading.request()

    def open_and_break(now: float) -> float:
        reading.opened(JOB, now)
        read(reading, b": comment\n\n", now + lived_s)
        return now + lived_s + reading.broke(RESET, now + lived_s)

    if survives:
        while now < 3 * PATIENCE_S:
            now = open_and_break(now)
    else:
        with pytest.raises(Upstream):
            while now < 3 * PATIENCE_S:
                now = open_and_break(now)
        assert now == PATIENCE_S


def test_leaving_is_said_once_and_only_where_something_may_run() -> None:
    reading = pursuit()
    assert reading.farewell() == ""
    reading = pursuit()
    reading.request()
    assert reading.farewell() == f"http://queen-0:1/v1/jobs/{JOB}"
    assert reading.farewell() == ""
    reading = pursuit()
    reading.request()
    reading.broke(GONE, 0.0)
    assert reading.farewell() == ""
    reading = pursuit(own=False)
    reading.opened(JOB, 0.0)
    assert reading.farewell() == ""
