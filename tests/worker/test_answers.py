"""Answers that queens asked for: kept as long as somebody may come back for them, and no longer."""

from __future__ import annotations

import gc
import json
import weakref
from typing import Any

import anyio
import pytest
from starlette.types import ASGIApp, Message

from rbee.contracts.fleet import WorkerBeat
from rbee.contracts.operations import Infer
from rbee.errors import JobNotFound
from rbee.wire.guard import known_hosts
from rbee.worker import routes
from rbee.worker.answers import KEPT_BYTES, Answers
from rbee.worker.metrics import registry
from rbee.worker.ticket import whole
from tests.http import frames
from tests.worker.rig import WITHIN_S, Rig, running, until

pytestmark = pytest.mark.anyio
JOB = "job-00000000000000aa"


def app_of(rig: Rig) -> ASGIApp:
    def view() -> WorkerBeat:
        raise AssertionError("nobody asks for it")

    return routes.build(
        rig.service,
        view,
        registry(rig.service),
        hosts=known_hosts("127.0.0.1", ()),
        ready=lambda: True,
        max_body_bytes=10**6,
    )


class Call:
    """One request, by hand: its reader leaves when the test says so."""

    def __init__(self, method: str, path: str, body: Any = None, *, deaf: bool = False) -> None:
        path, _, query = path.partition("?")
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        self._body = json.dumps(body).encode() if body is not None else b""
        self._deaf = deaf
        self._asked = False
        self.said = b""

    async def receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await anyio.sleep_forever()
        raise AssertionError

    async def send(self, message: Message) -> None:
        if self._deaf:
            raise ConnectionResetError("the reader is gone")
        self.said += message.get("body", b"")

    async def made(self, app: ASGIApp) -> list[Any]:
        """All events that it was answered."""
        with anyio.fail_after(WITHIN_S):
            await app(self.scope, self.receive, self.send)
        return [event for _, event in frames(self.said.decode().split("\n"))]


def generate(**more: Any) -> dict[str, Any]:
    infer = {"operation": "infer", "model": "echo", "prompt": "abc"}
    return {"job_id": JOB, "infer": infer, "orphan_grace_s": 20.0, **more}


async def test_what_waits_for_its_first_reader_begins_with_the_second_one() -> None:
    """The queen who asked for a trial was gone before it had begun: it must not wait for ever."""
    async with running() as rig:
        app = app_of(rig)
        await Call("POST", "/v1/answers", generate(trial=True), deaf=True).made(app)
        assert rig.service.jobs == [JOB] and not rig.backend.batches
        begun, *events = await Call("GET", f"/v1/answers/{JOB}/stream?from=0").made(app)
        assert begun["type"] == "begun" and events[-1]["type"] == "done"
        assert "".join(event.get("text", "") for event in events) == "abc"
        await rig.idle()


async def test_it_begins_once_however_many_read_it() -> None:
    async with running(slots=2) as rig:
        app, answers = app_of(rig), []
        rig.backend.hold()

        async def read(call: Call) -> None:
            answers.append(await call.made(app))

        async with anyio.create_task_group() as group:
            group.start_soon(read, Call("POST", "/v1/answers", generate(trial=True)))
            await until(lambda: rig.service.jobs)
            for _ in range(3):
                group.start_soon(read, Call("GET", f"/v1/answers/{JOB}/stream?from=0"))
            await until(lambda: rig.engine.busy)
            assert rig.engine.busy == 1 and rig.engine.waiting == 0
            rig.backend.release()
        assert len(answers) == 4 and all(found[1:] == answers[0][1:] for found in answers)
        await rig.idle()


async def test_what_was_needed_to_compute_it_is_not_kept_with_it() -> None:
    async with running(slots=1) as rig:
        rig.backend.hold()
        ended, cancelled = await rig.begin("abc"), await rig.begin("abc")
        rig.backend.step()
        await until(lambda: len(rig.engine._writers) == 2)
        writers = [weakref.ref(writer) for writer in rig.engine._writers.values()]
        never_begun = await rig.service.begin(Infer(model="echo", prompt="abc"), wait=True)
        beginning = weakref.ref(never_begun.go)
        for ticket in (cancelled, never_begun):
            ticket.cancel()
        rig.backend.release()
        await whole(ended)
        await rig.idle()
        gc.collect()
        assert ended.log.ended and cancelled.log.ended
        assert [writer() for writer in writers] == [None, None] and beginning() is None


async def test_large_requests_are_kept_while_there_is_room_for_them() -> None:
    async with running() as rig:
        answers = Answers(lambda: None)
        for number in range(4):
            ticket = await rig.service.begin(Infer(model="echo", prompt="abc"), f"job-{number}")
            await whole(ticket)
            answers.add(ticket, 20.0, KEPT_BYTES // 3 + 1)
        assert answers.ended == ["job-2", "job-3"]
        with pytest.raises(JobNotFound):
            answers.find("job-0")
        answers.attach(answers.find("job-2"))
        ticket = await rig.service.begin(Infer(model="echo", prompt="abc"), "job-4")
        await whole(ticket)
        answers.add(ticket, 20.0, KEPT_BYTES)
        assert answers.ended == ["job-2", "job-4"], "what is being read is not taken away"
        answers.close()
