"""Errands with a hive that is nowhere: the reason reaches those who wait, and nothing is kept."""

from __future__ import annotations

import anyio
import pytest
from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rbee.contracts.answers import Spawned
from rbee.contracts.events import AnyEvent, Done, Progress
from rbee.errors import Unavailable, Upstream
from rbee.queen import errands as errands_module
from rbee.queen.dispatch import Dispatch
from rbee.queen.errands import FRUIT_S, Errand, Errands
from rbee.queen.fleet import Fleet
from rbee.queen.registry import Registry
from rbee.queen.scheduler import Need, Spawn
from rbee.wire.codec import plain
from rbee.wire.eventlog import EventLog
from rbee.wire.http import Http
from rbee.wire.stream import EventStream
from tests.queen.fleets import device, hive, worker
from tests.wire.harness import serving, until


def test_a_hive_that_does_not_answer_fails_the_request_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(errands_module, "AGAIN_S", 0.02)

    async def play() -> None:
        async with Http() as http, anyio.create_task_group() as group:
            registry = Registry(0.0, beat_s=1_000.0)
            errands = Errands(group, http, 10.0)
            dispatch = Dispatch(registry, errands)
            registry.beat(hive("h", url="http://127.0.0.1:9"), anyio.current_time())
            errors: list[Exception] = []

            async def asking() -> None:
                try:
                    async with dispatch.lease(Need("bee"), lambda event: None):
                        raise AssertionError("there is no worker")
                except Unavailable as exc:
                    assert exc.code == "unavailable", "this queen is there"
                    assert "'h'" in exc.message
                    errors.append(exc)

            with anyio.fail_after(10):
                async with anyio.create_task_group() as askers:
                    askers.start_soon(asking)
                    askers.start_soon(asking)
            assert len(errors) == 2
            assert errors[0] is not errors[1], "each has its own, for tracebacks grow"
            assert len(errands) == 0
            assert dispatch.view().done == dispatch.view().arrived == 2

    anyio.run(play)


def test_what_a_hive_cannot_do_that_has_gone_another_one_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(errands_module, "AGAIN_S", 0.02)
    asked: list[str] = []

    async def jobs(request: Request) -> Response:
        asked.append("other")
        log = EventLog()
        spawned = Spawned("w", 5, 8080, "http://127.0.0.1:9", "bee", "cpu")
        log.append(Done(finish_reason="stop", result=plain(spawned)))
        return EventStream(log)

    async def play() -> None:
        app = Starlette(routes=[Route("/v1/jobs", jobs, methods=["POST"])])
        async with serving(app) as url, Http() as http, anyio.create_task_group() as group:
            registry = Registry(0.0, beat_s=1_000.0)
            errands = Errands(group, http, 10.0)
            dispatch = Dispatch(registry, errands)
            roomy = hive("h", url="http://127.0.0.1:9", devices=[device("cpu", 99)])
            registry.beat(roomy, anyio.current_time())
            registry.beat(hive("o", url=url), anyio.current_time())

            async def asking() -> None:
                async with dispatch.lease(Need("bee"), lambda event: None) as lease:
                    assert lease.worker.id == "w"

            with anyio.fail_after(10):
                async with anyio.create_task_group() as askers:
                    askers.start_soon(asking)
                    await until(lambda: bool(errands) and not asked)
                    gone = replace(roomy, seq=roomy.seq + 1, state="stopped")
                    registry.beat(gone, anyio.current_time())
                    await until(lambda: asked == ["other"])
                    registry.beat(worker("w", hive_id="o"), anyio.current_time())
                    dispatch.serve()
            group.cancel_scope.cancel()

    anyio.run(play)


def test_a_watcher_that_comes_later_sees_where_it_stands() -> None:
    errand = Errand(Spawn(hive("h"), "bee"))
    seen: list[AnyEvent] = []
    errand.progress(Progress(what="load", done=3))
    errand.watch(1, seen.append)
    errand.watch(1, seen.append)
    errand.progress(Progress(what="load", done=4))
    assert [e.done for e in seen if isinstance(e, Progress)] == [3, 4]


def test_what_went_well_is_remembered_until_it_shows() -> None:
    async def play() -> None:
        async with Http() as http, anyio.create_task_group() as group:
            for fleet, later, left in [
                (Fleet(), 1.0, 1),
                (Fleet(workers=[worker("w")]), 1.0, 0),
                (Fleet(), FRUIT_S + 1.0, 0),
            ]:
                errands = Errands(group, http, 10.0)
                errand = errands.ensure(Spawn(hive("h"), "bee"))
                errand.fruit, errand.ended = "w", 0.0
                errands.tidy(fleet, later)
                assert len(errands) == left
            group.cancel_scope.cancel()

    anyio.run(play)


def test_an_answer_that_is_none_is_the_hives_fault_and_not_the_clients() -> None:
    async def jobs(request: Request) -> Response:
        log = EventLog()
        log.append(Done(finish_reason="stop", result={"worker_id": 5}))
        return EventStream(log)

    async def play() -> None:
        app = Starlette(routes=[Route("/v1/jobs", jobs, methods=["POST"])])
        async with serving(app) as url, Http() as http, anyio.create_task_group() as group:
            errand = Errands(group, http, 10.0).ensure(Spawn(hive("h", url=url), "bee"))
            await until(lambda: errand.ended is not None)
            assert type(errand.error) is Upstream

    anyio.run(play)
