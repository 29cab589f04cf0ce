"""Both clients against a scripted server: what they ask, what they return, what they raise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from rbee import errors
from rbee.client import AsyncClient, Client
from rbee.contracts import operations
from rbee.contracts.events import AnyEvent, Token
from tests.client.stub import done, free_ports, problem, stream, stub, token, whole

SILENCE_S, PATIENCE_S = 0.4, 0.5
Run = Callable[[str, str, tuple[Any, ...], dict[str, Any]], Any]


def _sync(url: str, method: str, args: tuple[Any, ...], fields: dict[str, Any]) -> Any:
    client = Client(url, url, silence_s=SILENCE_S, patience_s=PATIENCE_S)
    return getattr(client, method)(*args, **fields)


def _async(url: str, method: str, args: tuple[Any, ...], fields: dict[str, Any]) -> Any:
    async def run() -> Any:
        async with AsyncClient(url, url, silence_s=SILENCE_S, patience_s=PATIENCE_S) as client:
            found: Awaitable[Any] = getattr(client, method)(*args, **fields)
            return await found

    return anyio.run(run)


@pytest.fixture(params=[_sync, _async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Callable[..., Any]:
    run: Run = request.param
    return lambda url, method, *args, **fields: run(url, method, args, fields)


def test_infer_puts_the_stream_together(ask: Callable[..., Any]) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    moved = {"type": "moved", "worker_id": "w0", "why": "killed", "migrations": 1}
    last = done(usage=usage, worker_id="w1", migrations=1)
    with stub(stream(token("Hel"), moved, token("lo", 1), last)) as server:
        answer = ask(server.url, "infer", "Hi", max_tokens=5)
    assert answer.choices[0].text == "Hello"
    assert answer.choices[0].token_ids == [0, 1]
    assert (answer.job_id, answer.worker_id, answer.usage.completion_tokens) == ("job-1", "w1", 2)
    assert answer.migrations == 1
    [asked] = server.asked
    assert (asked.method, asked.path) == ("POST", "/v1/jobs")
    assert asked.headers["accept"] == "text/event-stream"
    assert asked.json()["messages"] == [{"role": "user", "content": "Hi"}]
    assert asked.json()["max_tokens"] == 5


def test_several_choices_keep_apart(ask: Callable[..., Any]) -> None:
    second = {**token("B"), "choice": 1}
    last = done(finish_reasons=["stop", "length"])
    with stub(stream(token("A"), second, last)) as server:
        answer = ask(server.url, "infer", "x", n=2)
    assert [(c.text, c.finish_reason) for c in answer.choices] == [("A", "stop"), ("B", "length")]


def test_a_field_out_of_bounds_is_told_before_anything_is_sent(ask: Callable[..., Any]) -> None:
    with stub() as server, pytest.raises(errors.Invalid) as told:
        ask(server.url, "infer", "x", temperature=99.0)
    assert told.value.path == "$.temperature"
    assert server.asked == []


def test_an_error_answer_is_the_servers_exception(ask: Callable[..., Any]) -> None:
    said = problem("model_not_found", "No model 'x' here.", hint="fetch it", param="model")
    with stub(whole(said, 404)) as server, pytest.raises(errors.ModelNotFound) as told:
        ask(server.url, "infer", "Hi", model="x")
    assert (told.value.hint, told.value.path) == ("fetch it", "$.model")


def test_a_failed_event_is_the_servers_exception(ask: Callable[..., Any]) -> None:
    failed = {"type": "failed", "code": "worker_gone", "message": "It died."}
    with stub(stream(token("a"), failed)) as server, pytest.raises(errors.WorkerGone):
        ask(server.url, "infer", "Hi")


def test_nobody_there(ask: Callable[..., Any]) -> None:
    [port] = free_ports(1)
    with pytest.raises(errors.ServerGone, match=str(port)):
        ask(f"http://127.0.0.1:{port}", "status")


def test_what_is_not_rbee(ask: Callable[..., Any]) -> None:
    with stub(whole(b"<html>", 502)) as server, pytest.raises(errors.Upstream, match="502"):
        ask(server.url, "status")


def test_a_spawn_returns_what_the_last_event_carries(ask: Callable[..., Any]) -> None:
    made = {"worker_id": "w", "pid": 7, "port": 8080, "url": "http://x", "model": "bee"}
    progress = {"type": "progress", "what": "load", "done": 50, "total": 100, "unit": "percent"}
    with stub(stream(progress, done(result={**made, "device": "cpu"}))) as server:
        spawned = ask(server.url, "spawn", "bee", slots=2)
    assert (spawned.worker_id, spawned.pid) == ("w", 7)
    assert server.asked[0].json() == {"operation": "worker_spawn", "model": "bee", "slots": 2}


def test_vectors_come_in_the_order_of_the_texts(ask: Callable[..., Any]) -> None:
    rows = [{"embedding": [2.0], "index": 1}, {"embedding": [1.0], "index": 0}]
    said = {"data": rows, "model": "bee", "usage": {"prompt_tokens": 4}}
    with stub(whole(said)) as server:
        found = ask(server.url, "embed", ["a", "b"])
    assert (found.vectors, found.prompt_tokens) == ([[1.0], [2.0]], 4)
    assert server.asked[0].path == "/openai/v1/embeddings"


def test_submit_asks_for_a_job_of_its_own(ask: Callable[..., Any]) -> None:
    accepted = {"job_id": "job-7", "sse_url": "/v1/jobs/job-7/stream"}
    with stub(whole(accepted, 202)) as server:
        found = ask(server.url, "submit", operations.Infer(model="bee", prompt="x"))
    assert found.job_id == "job-7"
    assert server.asked[0].headers["prefer"] == "respond-async"


def test_draining(ask: Callable[..., Any]) -> None:
    drained = {"hive_id": "h", "workers": ["w"]}
    with stub(whole(drained), whole(drained), whole({"deleted": "w"})) as server:
        assert ask(server.url, "drain_hive", drain_s=3.0).workers == ["w"]
        ask(server.url, "drain_hive", undo=True)
        assert ask(server.url, "stop_worker", "w", drain=True).deleted == "w"
    assert [asked.json() for asked in server.asked] == [
        {"operation": "hive_drain", "drain_s": 3.0},
        {"operation": "hive_drain", "undo": True},
        {"operation": "worker_process_delete", "worker_id": "w", "drain": True},
    ]


def test_a_draining_queen_is_asked_again_and_an_overloaded_one_is_not(
    ask: Callable[..., Any],
) -> None:
    draining = whole(problem("draining", "Not now."), 503)
    accepted = whole({"job_id": "job-7", "sse_url": "/v1/jobs/job-7/stream"}, 202)
    operation = operations.Infer(model="bee", prompt="x")
    with stub(draining, accepted) as server:
        assert ask(server.url, "submit", operation).job_id == "job-7"
    overloaded = whole(problem("overloaded", "Too many."), 429)
    for method, given in (("submit", operation), ("infer", "x")):
        with stub(overloaded) as server, pytest.raises(errors.Overloaded):
            ask(server.url, method, given)


def test_cancel_names_the_job_safely(ask: Callable[..., Any]) -> None:
    with stub() as server:
        assert ask(server.url, "cancel", "../x y").state == "cancelled"
    assert server.deleted == ["/v1/jobs/..%2Fx%20y"]


def test_leaving_a_stream_closes_the_connection() -> None:
    with stub(stream(token("a"), end=False, hold=True)) as server:
        with Client(server.url).stream("Hi") as events:
            first = next(iter(events))
        assert isinstance(first, Token)
        assert server.left.wait(5)


def test_leaving_an_awaited_stream_closes_the_connection() -> None:
    async def leave(url: str) -> AnyEvent:
        async with AsyncClient(url) as client, client.stream("Hi") as events:
            async for event in events:
                return event
        raise AssertionError("no event")

    with stub(stream(token("a"), end=False, hold=True)) as server:
        assert isinstance(anyio.run(leave, server.url), Token)
        assert server.left.wait(5)


@pytest.mark.parametrize("url", ["ftp://x", "no address", "http://", "http://x:port"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(errors.Usage, match="no address"):
        Client(url).status()


def test_addresses_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RBEE_QUEEN_URL", "http://queen:1/")
    monkeypatch.delenv("RBEE_HIVE_URL", raising=False)
    assert (Client().queen, Client().hive) == ("http://queen:1", "http://127.0.0.1:7835")
    assert Client("http://given").queen == "http://given"
    monkeypatch.setenv("RBEE_QUEEN_URL", " http://a:1 , http://b:2/,")
    assert Client().queens == ("http://a:1", "http://b:2")
    assert Client().queen == "http://a:1"
