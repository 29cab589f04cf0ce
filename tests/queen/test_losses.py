"""Workers that die, hives that fail, a queen that restarts, lines that fill: real processes."""

from __future__ import annotations

import threading
from typing import Any

from tests.http import Answer, ask, listening
from tests.queen.conftest import queen, status, stub, stub_hive, until

OK: dict[str, Any] = {"operation": "infer", "model": "bee", "prompt": "a b c"}


def test_where_nobody_can_go_on_the_stream_ends_in_a_failed_event() -> None:
    with queen(orphan_grace_s=1) as q, stub(q.url, die_after=2, gap_s=0.05):
        events = ask("POST", f"{q.url}/v1/jobs", OK).events
        assert [e["type"] for e in events] == ["token", "token", "failed"]
        assert events[-1]["code"] == "worker_gone" and events[-1]["message"]
        chat = {"model": "bee", "messages": [{"role": "user", "content": "x"}]}
        until(lambda: not status(q.url)["workers"] or not status(q.url)["workers"][0]["alive"])
        assert ask("POST", f"{q.url}/v1/chat/completions", chat).status >= 404


def test_a_worker_that_dies_before_a_token_costs_only_time() -> None:
    with queen() as q, stub(q.url, id="a", die_after=0), stub(q.url, id="b"):
        answers = [ask("POST", f"{q.url}/v1/jobs", OK) for _ in range(4)]
        for answer in answers:
            assert answer.events[-1]["type"] == "done"
            assert answer.events[-1]["worker_id"] == "b"
        queue = status(q.url)["queue"]
        assert queue["waiting"] == queue["leased"] == 0
        assert queue["arrived"] == queue["done"] == 5


def test_a_killed_worker_gets_no_requests_even_before_its_silence_is_noticed() -> None:
    with queen(beat_s=5) as q, stub(q.url, id="a") as a, stub(q.url, id="b"):
        a.kill()
        for _ in range(3):
            answer = ask("POST", f"{q.url}/v1/jobs", {**OK, "stream": False})
            assert answer.json()["worker_id"] == "b"


def test_a_worker_that_never_answers_meets_the_deadline() -> None:
    with queen() as q, stub(q.url, deaf=1) as worker:
        answer = ask("POST", f"{q.url}/v1/jobs", {**OK, "deadline_ms": 300})
        assert answer.status == 504
        assert answer.json()["error"]["code"] == "deadline_exceeded"
        until(lambda: ask("GET", f"{worker.url}/state").json()["busy"] == 0, 2)


def test_requests_of_a_queen_just_started_wait_for_the_fleet() -> None:
    with queen(settle_s=10) as q:
        answers: list[Answer] = []
        asking = threading.Thread(
            target=lambda: answers.append(ask("POST", f"{q.url}/v1/jobs", OK))
        )
        asking.start()
        until(lambda: status(q.url)["queue"]["waiting"] == 1)
        with stub(q.url):
            asking.join(10)
            assert answers[0].events[-1]["type"] == "done"


def test_a_full_line_is_a_429_and_the_line_moves_on() -> None:
    with queen(queue_limit=2) as q, stub(q.url, slots=1, gap_s=0.1):
        url = f"{q.url}/v1/jobs"
        ids = [
            ask("POST", url, {**OK, "prompt": "w " * 8}, {"Prefer": "respond-async"}).json()[
                "job_id"
            ]
            for _ in range(3)
        ]
        until(lambda: status(q.url)["queue"]["waiting"] == 2)
        refused = ask("POST", url, OK)
        assert refused.status == 429
        assert refused.json()["error"]["code"] == "overloaded"
        assert int(refused.headers["retry-after"]) >= 1
        last = ask("GET", f"{url}/{ids[-1]}/stream").events
        positions = [e["position"] for e in last if e["type"] == "queued"]
        assert positions == [1, 0]
        assert last[-1]["type"] == "done"


def test_waiting_has_an_end() -> None:
    with queen(wait_limit_s=0.5) as q, stub(q.url, slots=1, deaf=1) as worker:
        url = f"{q.url}/v1/jobs"
        ask("POST", url, OK, {"Prefer": "respond-async"})
        until(lambda: status(q.url)["queue"]["leased"] == 1)
        answer = ask("POST", url, {**OK, "stream": False})
        assert (answer.status, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
        worker.kill()  # it would hear its client out


def test_the_queen_spawns_once_for_all_who_wait() -> None:
    with queen() as q, stub_hive(q.url, spawn_s=0.3) as hive:
        answers: list[Answer] = []
        askers = [
            threading.Thread(target=lambda: answers.append(ask("POST", f"{q.url}/v1/jobs", OK)))
            for _ in range(4)
        ]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join(20)
        assert [a.events[-1]["type"] for a in answers] == ["done"] * 4
        assert all(any(e["type"] == "progress" for e in a.events) for a in answers)
        assert ask("GET", f"{hive.url}/state").json() == {"WorkerSpawn": 1}


def test_the_queen_has_a_model_downloaded_then_spawned() -> None:
    with queen() as q, stub_hive(q.url) as hive:
        answer = ask("POST", f"{q.url}/v1/jobs", {**OK, "model": "org/repo"})
        assert answer.events[-1]["model"] == "org/repo/file.gguf"
        whats = [e["what"] for e in answer.events if e["type"] == "progress"]
        assert whats == ["download", "load"]
        assert ask("GET", f"{hive.url}/state").json() == {"ModelDownload": 1, "WorkerSpawn": 1}


def test_a_spawn_that_fails_tells_everybody_why() -> None:
    with queen() as q, stub_hive(q.url, refuse=1, spawn_s=0.2) as hive:
        for attempt in (1, 2):
            answer = ask("POST", f"{q.url}/v1/jobs", {**OK, "stream": False})
            assert answer.status == 400
            assert answer.json()["error"]["code"] == "bad_model_file"
            assert ask("GET", f"{hive.url}/state").json() == {"WorkerSpawn": attempt}


def test_the_end_of_the_queen_ends_her_streams_with_an_event() -> None:
    with queen(drain_s=0.3) as q, stub(q.url, gap_s=0.2):
        with listening("POST", f"{q.url}/v1/jobs", {**OK, "prompt": "w " * 50}) as (_, events):
            next(events)
            q.child.terminate()
            assert list(events)[-1][1]["code"] == "draining"
        assert q.child.wait(10) == 0
