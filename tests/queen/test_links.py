"""The network between a queen and her workers: cut, half-closed, stalled, late. Real connections
through the proxy of the tests; what a client reads has no gap and no repetition."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rbee.wire.beats import TIMEOUT_S
from rbee.wire.http import SILENCE_S
from tests.http import ask, listening
from tests.processes import Started
from tests.proxy import Fault, Proxy, proxied
from tests.queen.conftest import queen, status, stub, until
from tests.system.stack import free_ports

TEXT = " ".join(f"w{number}" for number in range(12))
INFER: dict[str, Any] = {"operation": "infer", "model": "bee", "prompt": TEXT}
DELAY_S = 0.2
BEAT_S, MISSED = 0.5, 4
"""Two seconds: several beats, also where each takes two delays to be acknowledged."""
Breaks = Callable[[Proxy], None]
AT_ONCE: dict[str, Breaks] = {
    "cut": lambda link: link.cut(),
    "half-close towards the queen": lambda link: link.half_close("client"),
    "half-close towards the worker": lambda link: link.half_close("server"),
}
"""What both sides notice by itself."""

MOMENTS: dict[str, Breaks] = {
    "cut": lambda link: link.cut(),
    "stall": lambda link: link.stall("server"),
}


@contextmanager
def behind_a_link(
    of: str, fault: Fault | None = None, delay_s: float = 0.0, **flags: object
) -> Iterator[tuple[Proxy, Started]]:
    """A stub worker that the queen reaches over a link of its own."""
    [port] = free_ports(1)
    with (
        proxied(f"http://127.0.0.1:{port}", delay_s=delay_s, fault=fault) as link,
        stub(of, port=port, advertise=link.url, **flags) as worker,
    ):
        yield link, worker


def state(worker: Started) -> Any:
    return ask("GET", f"{worker.url}/state").json()


def at_peace(url: str) -> bool:
    queue = status(url)["queue"]
    return bool(queue["waiting"] == queue["leased"] == 0 and queue["arrived"] == queue["done"])


def alive(url: str, name: str) -> bool:
    return any(w["alive"] for w in status(url)["workers"] if w["worker"]["id"] == name)


def stays(fact: Callable[[], object], for_s: float) -> None:
    """Fail as soon as `fact()` is not true, and return when it was for so long."""
    ends = time.monotonic() + for_s
    while time.monotonic() < ends:
        assert fact()
        time.sleep(0.02)


def heard(url: str, breaks: Callable[[], None], after: int = 3) -> tuple[str, dict[str, Any]]:
    """The whole text, and its last event, of an answer in whose middle something breaks."""
    with listening("POST", f"{url}/v1/jobs", INFER) as (_, events):
        seen = [next(events) for _ in range(after)]
        breaks()
        seen += list(events)
    assert [number for number, _ in seen] == list(range(len(seen)))
    tokens = [event for _, event in seen if event["type"] == "token"]
    assert [token["index"] for token in tokens] == list(range(len(tokens)))
    assert seen[-1][1]["type"] == "done", seen[-1]
    return "".join(token["text"] for token in tokens), seen[-1][1]


@pytest.mark.parametrize("what", AT_ONCE)
def test_a_link_that_breaks_is_made_again_and_nothing_is_computed_anew(what: str) -> None:
    with queen() as q, behind_a_link(q.url, gap_s=0.05) as (link, worker):
        text, done = heard(q.url, lambda: AT_ONCE[what](link))
        assert (text, done["migrations"]) == (TEXT, 0)
        assert link.connections == 2
        assert state(worker)["moved"] == 0
        assert at_peace(q.url)


def test_a_worker_that_knows_nothing_of_the_answer_any_more_is_left() -> None:
    cut = Fault("cut", 1_000)
    with (
        queen() as q,
        behind_a_link(q.url, cut, id="a", gap_s=0.05, forgets=1) as (link, _),
        stub(q.url, id="b"),
    ):
        text, done = heard(q.url, lambda: None)
        assert (text, link.faults) == (TEXT, 1)
        assert (done["worker_id"], done["migrations"]) == ("b", 1)


def test_a_slow_link_is_no_failure() -> None:
    with queen() as q, behind_a_link(q.url, delay_s=DELAY_S, gap_s=0.05) as (link, worker):
        text, done = heard(q.url, lambda: None)
        assert (text, done["migrations"]) == (TEXT, 0)
        assert (link.connections, state(worker)["moved"]) == (1, 0)
        assert at_peace(q.url)


@pytest.mark.slow
@pytest.mark.timeout(SILENCE_S + 60)
def test_a_link_that_only_stalls_is_left_by_its_silence() -> None:
    """The worker beats on, over another connection: nothing else tells that this one is dead."""
    with queen() as q, behind_a_link(q.url, id="a", gap_s=0.05) as (link, _):
        began = time.monotonic()
        text, done = heard(q.url, lambda: link.stall("client"))
        assert text == TEXT and done["migrations"] == 1
        assert time.monotonic() - began < SILENCE_S + 5
        link.resume()
        assert at_peace(q.url)


def test_a_cable_that_is_out_moves_the_answer_and_the_worker_comes_back() -> None:
    """Its stream and its heartbeats stall together, and what was under way arrives in the end."""
    with (
        queen() as q,
        proxied(q.url) as beats,
        behind_a_link(beats.url, id="a", gap_s=0.1) as (link, _),
        stub(q.url, id="b", gap_s=0.1),
    ):

        def out() -> None:
            beats.stall("server")
            link.stall("client")

        began = time.monotonic()
        text, done = heard(q.url, out)
        assert text == TEXT
        assert (done["worker_id"], done["migrations"]) == ("b", 1)
        assert time.monotonic() - began < 5
        beats.resume()
        link.resume()
        until(lambda: alive(q.url, "a"))
        assert heard(q.url, lambda: None)[0] == TEXT
        assert at_peace(q.url)


def test_of_two_workers_that_have_an_answer_the_one_it_moved_to_is_believed() -> None:
    """The first goes on with it in vain, and numbers its events otherwise."""
    job = "job-0123456789abcdef"
    with (
        queen() as one,
        queen(beat_s=5) as two,
        proxied(one.url) as beats,
        behind_a_link(beats.url, id="a", gap_s=0.1) as (link, a),
        stub(one.url, id="b", gap_s=0.1),
        listening("POST", f"{one.url}/v1/jobs", INFER, {"X-Rbee-Job-Id": job}) as (_, events),
    ):
        seen = [next(events) for _ in range(3)]
        known = {w["worker"]["id"]: w["worker"] for w in status(one.url)["workers"]}
        beats.stall("server")
        link.stall("client")
        while seen[-1][1]["type"] != "moved":
            seen.append(next(events))
        seen.append(next(events))
        for name, url in (("b", known["b"]["url"]), ("a", a.url)):
            told = {**known[name], "from": "worker", "jobs": [job], "url": url}
            assert ask("POST", f"{two.url}/v1/heartbeats", told).status == 200
        found = ask("GET", f"{two.url}/v1/jobs/{job}/stream").events
        assert found == [event for _, event in [*seen, *events]]


def test_heartbeats_over_a_slow_link_keep_the_worker() -> None:
    with (
        queen(beat_s=BEAT_S, beats_missed=MISSED) as q,
        proxied(q.url, delay_s=DELAY_S) as beats,
        stub(beats.url, id="a", gap_s=0.25),
    ):
        text, done = heard(q.url, lambda: stays(lambda: alive(q.url, "a"), 2 * BEAT_S * MISSED))
        assert (text, done["migrations"]) == (TEXT, 0)


@pytest.mark.parametrize("what", MOMENTS)
def test_heartbeats_that_break_off_for_a_moment_lose_nobody(what: str) -> None:
    with (
        queen(beat_s=BEAT_S, beats_missed=MISSED) as q,
        proxied(q.url) as beats,
        stub(beats.url, id="a", gap_s=0.25),
    ):

        def breaks() -> None:
            MOMENTS[what](beats)
            stays(lambda: alive(q.url, "a"), BEAT_S * 1.5)
            beats.resume()
            stays(lambda: alive(q.url, "a"), BEAT_S * MISSED)

        text, done = heard(q.url, breaks)
        assert (text, done["migrations"]) == (TEXT, 0)


def test_heartbeats_that_stall_for_long_lose_the_worker_until_they_are_heard_again() -> None:
    """Nobody mends the link: the sender gives the connection up, and makes another."""
    with (
        queen(beat_s=BEAT_S, beats_missed=MISSED) as q,
        proxied(q.url) as beats,
        stub(beats.url, id="a"),
    ):
        beats.stall("server")
        until(lambda: not alive(q.url, "a"), BEAT_S * (MISSED + 1) + 1)
        until(lambda: alive(q.url, "a"), TIMEOUT_S + 3)
        assert heard(q.url, lambda: None)[0] == TEXT
