"""Short questions whose worker is lost: asked again by the rules for what was not begun."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import ExitStack
from typing import Any

import anyio
import pytest
from starlette.requests import Request

from rbee.contracts.worker_api import Embed, Vectors
from rbee.errors import WorkerGone
from rbee.queen.budget import Budget
from rbee.queen.dispatch import Dispatch
from rbee.queen.errands import Errands
from rbee.queen.metrics import Metrics
from rbee.queen.questions import Questions
from rbee.queen.registry import Registry
from rbee.queen.retries import Retries
from rbee.wire.http import Http
from tests.http import Answer, ask
from tests.queen.conftest import queen, status, stub, until
from tests.queen.fleets import worker
from tests.system.stack import free_ports

ASKED: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {"model": "bee", "input": "abc"},
    "/v1/rerank": {"model": "bee", "query": "abc", "documents": ["a", "b"]},
    "/tokenize": {"model": "bee", "text": "abc"},
}


def at_peace(url: str) -> bool:
    queue = status(url)["queue"]
    return bool(queue["waiting"] == queue["leased"] == 0 and queue["arrived"] == queue["done"])


@pytest.mark.parametrize("path", ASKED)
def test_another_worker_answers_when_the_first_one_dies(path: str) -> None:
    with (
        queen() as q,
        stub(q.url, id="a", die_after=0, ranks=1) as a,
        stub(q.url, id="b", ranks=1),
    ):
        found = [ask("POST", q.url + path, ASKED[path]) for _ in range(3)]
        assert [answer.status for answer in found] == [200] * 3
        assert a.child.wait(1) == 9
        assert "rbee_retries_total 1.0" in ask("GET", f"{q.url}/metrics").body.decode()
        assert at_peace(q.url)


def test_a_worker_without_room_is_no_failure() -> None:
    with queen() as q, stub(q.url, id="a", full=1), stub(q.url, id="b"):
        body = ASKED["/v1/embeddings"]
        found = [ask("POST", f"{q.url}/v1/embeddings", body) for _ in range(4)]
        assert [answer.status for answer in found] == [200] * 4


def test_a_question_leaves_a_worker_that_falls_silent() -> None:
    """It would have waited for five minutes."""
    with queen() as q, stub(q.url, id="a", deaf=1) as a:
        answers: list[Answer] = []
        url, body = f"{q.url}/v1/embeddings", ASKED["/v1/embeddings"]
        asking = threading.Thread(target=lambda: answers.append(ask("POST", url, body)))
        asking.start()
        until(lambda: status(q.url)["queue"]["leased"] == 1)
        a.child.send_signal(signal.SIGSTOP)
        try:
            with stub(q.url, id="b"):
                asking.join(5)
                assert [answer.status for answer in answers] == [200]
        finally:
            a.child.send_signal(signal.SIGCONT)


def test_a_question_that_kills_its_workers_is_refused() -> None:
    poison = {"model": "bee", "input": "poison"}
    with ExitStack() as opened:
        q = opened.enter_context(queen())
        started = [opened.enter_context(stub(q.url, id=i)) for i in "abc"]
        url = f"{q.url}/v1/embeddings"
        for _ in range(2):
            found = ask("POST", url, poison)
            assert (found.status, found.json()["error"]["code"]) == (400, "poison_request")
        assert sum(one.child.poll() is None for one in started) == 1
        assert ask("POST", url, ASKED["/v1/embeddings"]).status == 200
        text = ask("GET", f"{q.url}/metrics").body.decode()
        assert "rbee_quarantined_total 1.0" in text
        assert 'rbee_refused_total{why="poison"} 1.0' in text


@pytest.mark.anyio
@pytest.mark.parametrize(("always", "tries"), [(0, 1), (2, 3)])
async def test_questions_are_asked_again_within_the_budget(always: int, tries: int) -> None:
    """Nobody answers at any of the workers' addresses."""
    registry = Registry(0.0, beat_s=60.0, settle_s=0.0)
    ports = free_ports(4)
    for port in ports:
        url = f"http://127.0.0.1:{port}"
        registry.beat(worker(f"w{port}", url=url), time.monotonic())
    asked: list[str] = []

    def made(own: str) -> Embed:
        asked.append(own)
        return Embed(model=own, input=["abc"])

    async with Http() as http, anyio.create_task_group() as group:
        dispatch = Dispatch(registry, Errands(group, http, 10.0))
        metrics = Metrics(dispatch.view)
        retries = Retries(dispatch.leases, metrics, Budget(share=0.0, always=always))
        questions = Questions(dispatch, retries, http)
        with pytest.raises(WorkerGone, match="asked again already"):
            await questions.ask(request(), "bee", "/v1/embed", Vectors, made)
        assert len(asked) == tries
        assert not len(dispatch.leases) and dispatch.view().done == tries
        assert metrics.registry.get_sample_value("rbee_refused_total", {"why": "budget"}) == 1.0


def request() -> Request:
    """One whose client stays, and whose body has been read."""
    scope = {"type": "http", "method": "POST", "path": "/v1/embeddings", "headers": []}
    told = iter([{"type": "http.request", "body": b"{}", "more_body": False}])

    async def receive() -> Any:
        for message in told:
            return message
        return await anyio.sleep_forever()

    return Request({**scope, "query_string": b"", "server": ("here", 1)}, receive)
