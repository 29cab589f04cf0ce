"""Workers, and the queen, die in the middle of answers: clients read the whole answer, once."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from rbee.client.sync import Client
from rbee.contracts.events import Done, Token
from tests.http import Answer, ask, listening
from tests.queen.conftest import queen, status, stub, stub_hive, until
from tests.queen.stub_worker import SHA

TEXT = " ".join(f"w{number}" for number in range(12))
INFER: dict[str, Any] = {"operation": "infer", "model": "bee", "prompt": TEXT}
JOB = "job-0123456789abcdef"


def said(answer: Answer, choice: int = 0) -> str:
    return "".join(
        e["text"] for e in answer.events if e["type"] == "token" and e.get("choice", 0) == choice
    )


def kinds(answer: Answer) -> list[str]:
    return [e["type"] for e in answer.events]


def test_another_worker_goes_on_where_the_first_one_died() -> None:
    with queen() as q, stub(q.url, id="a", die_after=5), stub(q.url, id="b") as b:
        answer = ask("POST", f"{q.url}/v1/jobs", {**INFER, "n": 2})
        while answer.events[-1]["migrations"] == 0:  # b may have been asked first
            answer = ask("POST", f"{q.url}/v1/jobs", {**INFER, "n": 2})
        assert said(answer) == said(answer, 1) == TEXT
        done = answer.events[-1]
        assert (done["type"], done["worker_id"], done["migrations"]) == ("done", "b", 1)
        [moved] = [e for e in answer.events if e["type"] == "moved"]
        assert moved["worker_id"] == "a" and moved["why"] and moved["migrations"] == 1
        assert ask("GET", f"{b.url}/state").json()["moved"] == 1
        queue = status(q.url)["queue"]
        assert queue["waiting"] == queue["leased"] == 0 and queue["arrived"] == queue["done"]


@pytest.mark.parametrize("how", ["die_after", "leave_after"])
def test_who_ends_because_it_shall_casts_no_suspicion(how: str) -> None:
    """Else all answers of a worker that is drained would be tried one after the other."""
    with queen() as q, stub(q.url, id="a", **{how: 5}), stub(q.url, id="b") as b:
        answer = ask("POST", f"{q.url}/v1/jobs", INFER)
        assert said(answer) == TEXT and answer.events[-1]["migrations"] == 1
        assert ask("GET", f"{b.url}/state").json()["trials"] == [how == "die_after"]


def test_the_whole_answer_says_how_often_it_moved() -> None:
    with queen() as q, stub(q.url, id="a", die_after=5), stub(q.url, id="b"):
        body = {**INFER, "stream": False}
        answers = [ask("POST", f"{q.url}/v1/jobs", body) for _ in range(4)]
        assert [a.json()["choices"][0]["text"] for a in answers] == [TEXT] * 4
        moved = [a for a in answers if a.json()["migrations"]]
        assert len(moved) == 1 and moved[0].headers["x-rbee-migrations"] == "1"


def test_openais_dialect_goes_on_as_well() -> None:
    body = {"model": "bee", "prompt": TEXT, "max_tokens": 99}
    several = {**body, "prompt": [TEXT, "x y"], "echo": True}
    for form in (body, several):
        with queen() as q, stub(q.url, id="a", die_after=5), stub(q.url, id="b"):
            whole = [ask("POST", f"{q.url}/v1/completions", form) for _ in range(3)]
            texts = [[c["text"] for c in a.json()["choices"]] for a in whole]
            assert texts == [texts[0]] * 3 and TEXT in texts[0][0]
            assert sum(int(a.headers["x-rbee-migrations"]) for a in whole) == 1


def test_who_dies_last_is_waited_for() -> None:
    """Its only worker is gone: the answer waits for one that comes."""
    with queen(wait_limit_s=20) as q:
        answers: list[Answer] = []
        with stub(q.url, id="a", die_after=3, gap_s=0.02):
            asking = threading.Thread(
                target=lambda: answers.append(ask("POST", f"{q.url}/v1/jobs", INFER))
            )
            asking.start()
            until(lambda: status(q.url)["queue"]["waiting"] == 1)
            with stub(q.url, id="b"):
                asking.join(15)
        assert said(answers[0]) == TEXT


@pytest.mark.parametrize("name", ["bee", "other/one/c.gguf"])
def test_a_worker_is_started_where_the_same_content_is(name: str) -> None:
    """The hive may call it what it likes; what counts is the sha256."""
    with (
        queen(wait_limit_s=20) as q,
        stub(q.url, id="a", die_after=5),
        stub_hive(q.url, id="twin", model=name, sha256=SHA) as twin,
    ):
        answer = ask("POST", f"{q.url}/v1/jobs", INFER)
        assert said(answer) == TEXT
        done = answer.events[-1]
        assert (done["type"], done["model"], done["migrations"]) == ("done", name, 1)
        assert [e["worker_id"] for e in answer.events if e["type"] == "moved"] == ["a"]
        assert done["worker_id"].startswith("w-")
        assert ask("GET", f"{twin.url}/state").json() == {"WorkerSpawn": 1}


def test_no_worker_is_started_for_another_content() -> None:
    """Same name, other file: an answer that was begun waits, and fails rather than mix the two."""
    with (
        queen(orphan_grace_s=1) as q,
        stub(q.url, id="a", die_after=5),
        stub_hive(q.url, sha256="f" * 64) as other,
    ):
        events = ask("POST", f"{q.url}/v1/jobs", INFER).events
        assert [e["type"] for e in events] == [*["token"] * 5, "failed"]
        assert events[-1]["code"] == "worker_gone"
        assert ask("GET", f"{other.url}/state").json() == {}


def test_a_silent_worker_is_left_within_five_seconds() -> None:
    with queen() as q, stub(q.url, id="a", gap_s=0.05) as a:
        with listening("POST", f"{q.url}/v1/jobs", INFER) as (_, events):
            seen = [next(events)]
            a.child.send_signal(signal.SIGSTOP)
            try:
                with stub(q.url, id="b"):
                    seen += list(events)
            finally:
                a.child.send_signal(signal.SIGCONT)
        assert "".join(e.get("text", "") for _, e in seen) == TEXT
        assert seen[-1][1]["migrations"] == 1
        assert [number for number, _ in seen] == list(range(len(seen)))


def test_a_request_that_kills_its_workers_is_refused_and_harms_nobody_else() -> None:
    poison = {**INFER, "prompt": "a b poison c"}
    with ExitStack() as opened:
        q = opened.enter_context(queen())
        started = [opened.enter_context(stub(q.url, id=i, gap_s=0.1)) for i in "abc"]
        answers: list[Answer] = []
        others = [
            threading.Thread(target=lambda: answers.append(ask("POST", f"{q.url}/v1/jobs", INFER)))
            for _ in range(4)
        ]
        for other in others:
            other.start()
        until(lambda: status(q.url)["queue"]["leased"] == 4)
        found = ask("POST", f"{q.url}/v1/jobs", poison)
        assert found.events[-1]["code"] == "poison_request", found.events
        for other in others:
            other.join(15)
        assert [said(a) for a in answers] == [TEXT] * 4
        again = ask("POST", f"{q.url}/v1/jobs", poison)
        assert again.status == 400 and again.json()["error"]["code"] == "poison_request"
        assert said(ask("POST", f"{q.url}/v1/jobs", INFER)) == TEXT
        assert sum(one.child.poll() is None for one in started) == 1


def test_a_worker_without_room_is_no_failure() -> None:
    """It is the least loaded one, and is not asked a second time while another one is free."""
    with queen() as q, stub(q.url, id="a", full=1), stub(q.url, id="b"):
        answers = [ask("POST", f"{q.url}/v1/jobs", INFER) for _ in range(4)]
        assert [said(a) for a in answers] == [TEXT] * 4
        text = ask("GET", f"{q.url}/metrics").body.decode()
        [retries] = re.findall(r"^rbee_retries_total (\S+)", text, re.MULTILINE)
        assert float(retries) <= 4


def test_an_answer_that_was_begun_does_not_wait_for_ever_for_room() -> None:
    with queen(orphan_grace_s=1) as q, stub(q.url, id="a", die_after=5), stub(q.url, full=1):
        events = ask("POST", f"{q.url}/v1/jobs", INFER).events
        assert [e["type"] for e in events] == [*["token"] * 5, "failed"]
        assert events[-1]["code"] == "worker_gone" and "room" in events[-1]["message"]


def test_the_longest_deadline_is_one_as_well() -> None:
    with queen() as q, stub(q.url):
        answer = ask("POST", f"{q.url}/v1/jobs", {**INFER, "deadline_ms": 86_400_000})
        assert answer.status == 200 and said(answer) == TEXT


def test_the_next_queen_goes_on_with_the_answers_of_the_first() -> None:
    body, own = {**INFER, "prompt": TEXT}, {"X-Rbee-Job-Id": JOB}
    with queen() as first:
        port = first.port
        with stub(first.url, gap_s=0.15):
            with listening("POST", f"{first.url}/v1/jobs", body, own) as (headers, events):
                assert headers["x-rbee-job-id"] == JOB
                seen = [next(events) for _ in range(3)]
                first.kill()
            with queen(port=port, settle_s=5) as second:
                place = f"{second.url}/v1/jobs/{JOB}"
                found = ask("GET", f"{place}/stream", headers={"Last-Event-ID": "2"})
                assert found.status == 200, found.body
                rest = found.events
                texts = [e.get("text", "") for _, e in seen] + [e.get("text", "") for e in rest]
                assert "".join(texts) == TEXT
                assert rest[-1]["type"] == "done"
                again = ask("GET", f"{place}/stream").events
                assert "".join(e.get("text", "") for e in again) == TEXT
                assert ask("GET", place).json()["state"] == "done"
                assert JOB in [
                    j["job_id"] for j in ask("GET", f"{second.url}/v1/jobs").json()["jobs"]
                ]
                unknown = ask("GET", f"{second.url}/v1/jobs/job-ffffffffffffffff")
                assert unknown.status == 404


def test_a_second_queen_beside_the_first_is_asked() -> None:
    """Each is told of by the worker: one of them by hand."""
    own = {"X-Rbee-Job-Id": JOB}
    with queen() as first, queen(beat_s=5) as second, stub(first.url, gap_s=0.1) as worker:
        beat = status(first.url)["workers"][0]["worker"]
        with listening("POST", f"{first.url}/v1/jobs", INFER, own) as (_, events):
            next(events)
            told = {**beat, "from": "worker", "jobs": [JOB], "url": worker.url}
            assert ask("POST", f"{second.url}/v1/heartbeats", told).status == 200
            found = ask("GET", f"{second.url}/v1/jobs/{JOB}/stream")
            assert said(found) == TEXT
            assert "".join(e.get("text", "") for _, e in events).endswith("w11")


def test_a_client_that_leaves_takes_the_answer_along() -> None:
    with queen() as q, stub(q.url, gap_s=0.2) as worker:
        with listening("POST", f"{q.url}/v1/jobs", INFER) as (_, events):
            next(events)
        until(lambda: ask("GET", f"{worker.url}/state").json()["busy"] == 0, 1.5)


def test_a_client_that_promised_to_say_so_may_come_back() -> None:
    promise = {"X-Rbee-Job-Id": JOB, "X-Rbee-Grace-S": "20"}
    with queen() as q, stub(q.url, gap_s=0.1) as worker:
        with listening("POST", f"{q.url}/v1/jobs", INFER, promise) as (_, events):
            next(events)
        found = ask("GET", f"{q.url}/v1/jobs/{JOB}/stream")
        assert said(found) == TEXT
        with listening("POST", f"{q.url}/v1/jobs", INFER, {"X-Rbee-Grace-S": "20"}) as (
            head,
            events,
        ):
            next(events)
        assert (
            ask("DELETE", f"{q.url}/v1/jobs/{head['x-rbee-job-id']}").json()["state"] == "cancelled"
        )
        until(lambda: ask("GET", f"{worker.url}/state").json()["busy"] == 0, 1.5)


def test_wishes_that_make_no_sense_are_refused() -> None:
    with queen() as q, stub(q.url, gap_s=0.1):
        for headers in ({"X-Rbee-Job-Id": "mine"}, {"X-Rbee-Grace-S": "-1"}):
            found = ask("POST", f"{q.url}/v1/jobs", INFER, headers)
            assert found.status == 422 and found.json()["error"]["param"] == next(iter(headers))
        with listening("POST", f"{q.url}/v1/jobs", INFER, {"X-Rbee-Job-Id": JOB}) as (_, events):
            next(events)
            found = ask("POST", f"{q.url}/v1/jobs", INFER, {"X-Rbee-Job-Id": JOB})
            assert found.status == 409


def test_an_answer_that_outlasts_its_queens_drain_goes_on_with_the_next_one() -> None:
    with ExitStack() as later, queen(drain_s=0) as first, stub(first.url, gap_s=0.15):
        port = first.port
        said: list[str] = []
        with Client(first.url, patience_s=15).stream(TEXT, model="bee") as events:
            for event in events:
                said += [event.text] if isinstance(event, Token) else []
                if len(said) == 3 and first.child.poll() is None:
                    assert first.stop() == 0
                    later.enter_context(queen(port=port, settle_s=5))
        assert isinstance(event, Done) and "".join(said) == TEXT


def test_whoever_goes_on_draws_with_the_same_seed() -> None:
    with queen() as q, stub(q.url, id="a", gap_s=0.05) as a, stub(q.url, id="b", gap_s=0.05) as b:
        answers: list[Answer] = []
        asking = threading.Thread(
            target=lambda: answers.append(ask("POST", f"{q.url}/v1/jobs", INFER))
        )
        asking.start()
        until(lambda: any(ask("GET", f"{w.url}/state").json()["seeds"] for w in (a, b)))
        first, second = (a, b) if ask("GET", f"{a.url}/state").json()["seeds"] else (b, a)
        [seed] = ask("GET", f"{first.url}/state").json()["seeds"]
        first.kill()
        asking.join(15)
        assert said(answers[0]) == TEXT
        assert ask("GET", f"{second.url}/state").json()["seeds"] == [seed] and seed is not None


@contextmanager
def read_by_two_queens() -> Iterator[tuple[str, str, Iterator[Any]]]:
    """A worker of the first that the second has heard of; the job there, the stream here."""
    usual = queen(beat_s=5, orphan_grace_s=0.3)
    with queen() as one, usual as two, stub(one.url, gap_s=0.15) as worker:
        beat = status(one.url)["workers"][0]["worker"]
        own = {"X-Rbee-Job-Id": JOB}
        with listening("POST", f"{one.url}/v1/jobs", INFER, own) as (_, events):
            next(events)
            told = {**beat, "from": "worker", "jobs": [JOB], "url": worker.url}
            assert ask("POST", f"{two.url}/v1/heartbeats", told).status == 200
            yield f"{two.url}/v1/jobs/{JOB}", worker.url, events


def test_a_reader_who_leaves_a_second_queen_takes_nothing_from_the_first_ones() -> None:
    with read_by_two_queens() as (place, _, events):
        with listening("GET", f"{place}/stream") as (_, others):
            next(others)
        until(lambda: ask("GET", place).json()["state"] == "cancelled")
        assert [event for _, event in events][-1]["type"] == "done"


def test_a_second_queen_can_be_asked_to_cancel_what_she_never_heard_of() -> None:
    with read_by_two_queens() as (place, worker, _):
        assert ask("DELETE", place).json()["state"] == "cancelled"
        until(lambda: ask("GET", f"{worker}/state").json()["busy"] == 0, 1.2)
