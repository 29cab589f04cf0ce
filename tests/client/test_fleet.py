"""Both clients against a real queen, hive and worker."""

from __future__ import annotations

import anyio
import pytest

from rbee import bee, errors
from rbee.client import AsyncClient, Client
from rbee.contracts import operations
from rbee.contracts.events import AnyEvent, Done, Failed, Token
from tests.keeper.command import Rbee

HELLO = "Hello, who are you?"
LONG = operations.Infer(model="bee", prompt="one two three", max_tokens=1_500, temperature=3.0)


@pytest.fixture
def client(fleet: Rbee) -> Client:
    return Client(fleet.queen, fleet.hive)


def text(events: list[AnyEvent]) -> str:
    return "".join(e.text for e in events if isinstance(e, Token))


def test_streamed_and_whole_say_the_same(client: Client) -> None:
    whole = client.infer(HELLO, temperature=0.0)
    with client.stream(HELLO, temperature=0.0) as events:
        streamed = list(events)
    assert text(streamed) == whole.choices[0].text
    assert (whole.sha256, whole.choices[0].finish_reason) == (bee.SHA256, "stop")
    assert whole.usage.completion_tokens == len(whole.choices[0].token_ids)
    assert isinstance(streamed[-1], Done)


def test_a_job_is_attached_to_again_and_again(client: Client) -> None:
    job = client.submit(operations.Infer(model="bee", prompt=HELLO, max_tokens=8))
    with client.attach(job.job_id) as events:
        everything = list(events)
    with client.attach(job.job_id, 2) as events:
        assert list(events) == everything[2:]
        assert events.cursor == len(everything)
    view = client.job(job.job_id)
    assert (view.state, view.events) == ("done", len(everything))
    assert job.job_id in [j.job_id for j in client.jobs()]


def test_a_job_is_cancelled(client: Client) -> None:
    job = client.submit(LONG)
    with client.attach(job.job_id) as events:
        stream = iter(events)
        next(e for e in stream if isinstance(e, Token))
        assert client.cancel(job.job_id).state == "cancelled"
        *_, last = stream
    assert isinstance(last, Failed)
    assert last.code == "cancelled"
    assert client.status().queue.leased == 0


def test_the_hive_answers_too(client: Client) -> None:
    spawned = client.spawn("bee", slots=1)
    assert spawned.worker_id in [w.worker_id for w in client.workers()]
    assert client.worker(spawned.worker_id).pid == spawned.pid
    assert client.stop_worker(spawned.worker_id).deleted == spawned.worker_id
    with pytest.raises(errors.WorkerNotFound):
        client.worker(spawned.worker_id)
    assert client.model("bee").sha256 == bee.SHA256
    with pytest.raises(errors.ModelProtected):
        client.delete_model("bee")
    with pytest.raises(errors.ModelNotFound):
        client.infer("x", model="nobody-has-this.gguf")


def test_many_at_a_time(fleet: Rbee) -> None:
    async def run() -> set[str]:
        said: set[str] = set()
        async with AsyncClient(fleet.queen, fleet.hive) as client:

            async def one() -> None:
                answer = await client.infer(HELLO, temperature=0.0)
                said.add(answer.choices[0].text)

            with anyio.fail_after(60):
                async with anyio.create_task_group() as group:
                    for _ in range(12):
                        group.start_soon(one)
        return said

    [answer] = anyio.run(run)
    assert "Bee" in answer
