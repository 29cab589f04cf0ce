"""`/v1/jobs` on a real queen with stub workers: every way in which an answer may come."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http import ask, listening
from tests.queen.conftest import queen, status, stub, until

WORDS = "one two three four five six seven eight nine ten"


def infer(prompt: str = WORDS, **more: Any) -> dict[str, Any]:
    return {"operation": "infer", "model": "bee", "prompt": prompt, **more}


def slow(prompt: str = WORDS, **more: Any) -> dict[str, Any]:
    return infer(prompt, model="slow-model", **more)


def text_of(events: list[Any]) -> str:
    return "".join(e["text"] for e in events if e["type"] == "token")


def test_streamed(a_queen: str) -> None:
    answer = ask("POST", f"{a_queen}/v1/jobs", infer())
    assert text_of(answer.events) == WORDS
    assert [e["index"] for e in answer.events[:-1]] == list(range(10))
    assert answer.events[-1]["type"] == "done"
    assert answer.events[-1]["worker_id"] == "quick"
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert answer.headers["x-rbee-job-id"]


def test_whole(a_queen: str) -> None:
    found = ask("POST", f"{a_queen}/v1/jobs", infer(stream=False, n=2)).json()
    assert [c["text"] for c in found["choices"]] == [WORDS, WORDS]
    assert found["usage"]["completion_tokens"] == 20
    assert found["choices"][1]["token_ids"] == list(range(100, 110))


def test_async_then_attached_again_and_again(a_queen: str) -> None:
    answer = ask("POST", f"{a_queen}/v1/jobs", slow(), {"Prefer": "respond-async"})
    assert answer.status == 202
    address = a_queen + answer.json()["sse_url"]
    with listening("GET", address) as (_, events):
        first = [next(events) for _ in range(3)]
    with listening("GET", address, headers={"Last-Event-ID": str(first[-1][0])}) as (_, events):
        rest = list(events)
    assert [number for number, _ in first + rest] == list(range(11))
    assert text_of([e for _, e in first + rest]) == WORDS
    again = ask("GET", f"{address}?from=8").events
    assert text_of(again) == " nine ten"
    job = ask("GET", f"{a_queen}/v1/jobs/{answer.json()['job_id']}").json()
    assert (job["state"], job["events"]) == ("done", 11)
    assert job["job_id"] in [j["job_id"] for j in ask("GET", f"{a_queen}/v1/jobs").json()["jobs"]]


def test_a_stream_names_its_job_so_that_it_can_be_attached_to(a_queen: str) -> None:
    asked = {"model": "slow-model", "messages": [{"role": "user", "content": WORDS}]}
    url = f"{a_queen}/v1/chat/completions"
    with listening("POST", url, {**asked, "stream": True}) as (headers, events):
        next(events)
        native = ask("GET", f"{a_queen}/v1/jobs/{headers['x-rbee-job-id']}/stream")
        assert text_of(native.events) == WORDS
        assert len(list(events)) == 11


def test_cancelled(a_queen: str) -> None:
    answer = ask("POST", f"{a_queen}/v1/jobs", slow(), {"Prefer": "respond-async"})
    job = f"{a_queen}/v1/jobs/{answer.json()['job_id']}"
    until(lambda: ask("GET", job).json()["events"] > 1)
    assert ask("DELETE", job).json()["state"] == "cancelled"
    assert ask("GET", f"{job}/stream").events[-1]["code"] == "cancelled"
    until(lambda: status(a_queen)["queue"]["leased"] == 0)


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/completions"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_the_worker(path: str, stream: bool) -> None:
    with queen() as q, stub(q.url, gap_s=0.1) as worker:
        long = {"model": "bee", "prompt": "word " * 500, "max_tokens": 500, "stream": stream}
        if path == "/v1/jobs":
            long["operation"] = "infer"
        if stream:
            with listening("POST", q.url + path, long) as (_, events):
                next(events)
        else:
            with pytest.raises(TimeoutError):
                ask("POST", q.url + path, long, timeout_s=0.5)
        until(lambda: ask("GET", f"{worker.url}/state").json()["busy"] == 0, 1.0)
        queue = status(q.url)["queue"]
        assert (queue["waiting"], queue["leased"], queue["done"]) == (0, 0, 1)


def test_unknown_jobs(a_queen: str) -> None:
    for path in ("/v1/jobs/job-1", "/v1/jobs/job-1/stream"):
        assert ask("GET", a_queen + path).json()["error"]["code"] == "job_not_found"
    answer = ask("POST", f"{a_queen}/v1/jobs", infer(), {"Prefer": "respond-async"})
    bad = ask("GET", f"{a_queen}{answer.json()['sse_url']}?from=x")
    assert bad.status == 422


def test_status_is_the_same_both_ways(a_queen: str) -> None:
    found = ask("POST", f"{a_queen}/v1/jobs", {"operation": "status"}).json()
    assert {w["worker"]["id"] for w in found["workers"]} == {"quick", "slow"}
    assert found.keys() == status(a_queen).keys()
    queue = found["queue"]
    assert queue["waiting"] + queue["leased"] + queue["done"] == queue["arrived"]


def test_metrics_and_openapi(a_queen: str) -> None:
    ask("POST", f"{a_queen}/v1/jobs", infer())
    text = ask("GET", f"{a_queen}/metrics").body.decode()
    assert 'rbee_requests_total{model="bee",outcome="ok"}' in text
    assert "rbee_first_token_seconds_bucket" in text
    paths = ask("GET", f"{a_queen}/v1/openapi.json").json()["paths"]
    assert {"/v1/jobs", "/v1/chat/completions", "/openai/v1/models/{id}"} <= paths.keys()
