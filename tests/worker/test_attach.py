"""An answer outlives its queen: it goes on, it is found, it is attached to, it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.http import ask, frames, listening
from tests.processes import Started
from tests.worker.bees import endless, request, serving, status, until

JOB = "job-00000000000000aa"


@contextmanager
def asking(url: str, body: dict[str, Any], grace_s: float = 20.0, job: str = JOB) -> Iterator[Any]:
    """A queen's stream; leaving it is her death."""
    asked = {"job_id": job, "infer": body, "orphan_grace_s": grace_s}
    with listening("POST", f"{url}/v1/answers", asked) as (_, events):
        yield events


def attached(url: str, job: str = JOB, number: int | None = None) -> list[tuple[int | None, Any]]:
    """All that a second queen reads, the unnumbered first word included."""
    place = f"{url}/v1/answers/{job}/stream" + (f"?from={number}" if number is not None else "")
    found = ask("GET", place)
    assert found.status == 200, found.body
    return list(frames(found.body.decode().split("\n")))


def place(url: str, job: str = JOB) -> str:
    return f"{url}/v1/answers/{job}"


def test_a_stream_for_a_queen_begins_with_what_she_needs(bee_worker: Started) -> None:
    with asking(bee_worker.url, request("Count from 1 to 10.")) as events:
        (number, begun), *rest = list(events)
    assert number is None and begun["type"] == "begun"
    known = {"messages": [{"role": "user", "content": "Count from 1 to 10."}]}
    assert begun["prompt_ids"] == ask("POST", f"{bee_worker.url}/tokenize", known).json()["tokens"]
    assert begun["worker_id"] and len(begun["sha256"]) == 64 and "infer" not in begun
    assert [n for n, _ in rest] == list(range(len(rest)))
    assert rest[-1][1]["type"] == "done"


def test_an_answer_goes_on_without_its_queen_and_is_the_same(bee_worker: Started) -> None:
    form = request("Count from 1 to 10.")
    whole = ask("POST", f"{bee_worker.url}/v1/infer", form).events
    with asking(bee_worker.url, form) as events:
        for _ in range(3):
            next(events)
    assert JOB in status(bee_worker.url)["jobs"]
    (none, begun), *found = attached(bee_worker.url)
    assert none is None and begun["type"] == "begun"
    assert [n for n, _ in found] == list(range(len(whole)))
    assert [{k: v for k, v in e.items() if k != "timings"} for _, e in found[:-1]] == whole[:-1]
    later = attached(bee_worker.url, number=4)
    assert later[1:] == found[4:]


def test_the_request_itself_is_told_to_a_queen_who_takes_over(bee_worker: Started) -> None:
    form = request("Count from 1 to 10.", temperature=0.5, seed=4)
    with asking(bee_worker.url, form, job="job-00000000000000ab") as events:
        for _ in range(4):
            next(events)
        found = ask("GET", place(bee_worker.url, "job-00000000000000ab")).json()
    assert found["infer"]["messages"] == form["messages"]
    assert (found["infer"]["seed"], found["infer"]["temperature"]) == (4, 0.5)
    assert found.get("first", 0) == 0 and found["written"] == [{}]
    until(lambda: status(bee_worker.url)["busy"] == 0)


def test_a_cancel_frees_the_slot_at_once(bee_worker: Started) -> None:
    url, job = bee_worker.url, "job-00000000000000ac"
    with asking(url, endless(url), job=job) as events:
        for _ in range(4):
            next(events)
        before = status(url)["step"]
        assert ask("DELETE", place(url, job)).status == 200
        last = [event for _, event in events][-1]
    assert last["type"] == "failed" and last["code"] == "cancelled"
    until(lambda: status(url)["busy"] == 0)
    assert status(url)["step"] - before < 200
    assert job not in status(url)["jobs"]
    assert ask("GET", f"{place(url, job)}/stream").status == 404


def test_a_cancel_that_overtakes_its_request_counts(bee_worker: Started) -> None:
    url, job = bee_worker.url, "job-00000000000000ad"
    assert ask("DELETE", place(url, job)).status == 200
    asked = {"job_id": job, "infer": request("Hello"), "orphan_grace_s": 9}
    late = ask("POST", f"{url}/v1/answers", asked)
    assert late.status == 499
    until(lambda: status(url)["busy"] == 0)


def test_nobody_comes_back_and_the_answer_ends() -> None:
    job = "job-00000000000000ae"
    with serving() as worker:
        with asking(worker.url, endless(worker.url), grace_s=0.3, job=job) as events:
            next(events)
            next(events)
        until(lambda: status(worker.url)["busy"] == 0, 3)
        assert status(worker.url)["step"] < 1_900
        assert ask("GET", place(worker.url, job)).status == 404


def test_an_earlier_life_of_a_job_goes_with_its_reader(bee_worker: Started) -> None:
    """It may be another queen's, whose client reads it."""
    url, job = bee_worker.url, "job-00000000000000af"
    with asking(url, endless(url), job=job) as first:
        next(first)
        next(first)
        with asking(url, request("Hello"), job=job) as second:
            assert list(second)[-1][1]["type"] == "done"
        assert next(first)[1]["type"] == "token"
    until(lambda: status(url)["busy"] == 0)


def test_a_queen_who_gives_an_answer_up_leaves_it_to_who_else_reads_it(
    bee_worker: Started,
) -> None:
    url, job = bee_worker.url, "job-00000000000000b0"
    with asking(url, endless(url), job=job) as events:
        next(events)
        next(events)
        with listening("GET", f"{place(url, job)}/stream") as (_, other):
            assert ask("DELETE", f"{place(url, job)}?unread=true").status == 200
            assert [event for _, event in events][-1]["type"] == "done"
            assert [event for _, event in other][-1]["type"] == "done"
    job = "job-00000000000000b1"
    with asking(url, endless(url), job=job) as events:
        next(events)
        next(events)
    assert ask("DELETE", f"{place(url, job)}?unread=true").status == 200
    until(lambda: status(url)["busy"] == 0, 3)
    assert ask("GET", f"{place(url, job)}/stream").status == 404
