"""Real child processes under a real supervisor: every way in which a worker can begin and end."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import psutil
import pytest

from rbee.errors import (
    BadModelFile,
    BadRequest,
    Overloaded,
    RbeeError,
    SpawnFailed,
    WorkerNotFound,
)
from rbee.hive import supervisor as supervisor_module
from rbee.hive.launch import Command
from rbee.hive.supervisor import slug
from tests.hive.ward import ward


def run(test: Callable[[], Awaitable[None]]) -> None:
    anyio.run(test)


async def refusal(call: Awaitable[object]) -> RbeeError:
    with pytest.raises(RbeeError) as caught:
        await call
    return caught.value


def test_a_worker_is_spawned_listed_and_deleted() -> None:
    async def test() -> None:
        async with ward() as w:
            made = await w.spawn("--steps", "4")
            assert w.progress[-1] == (100, 100)
            assert made.port == 4_321
            view = w.supervisor.get(made.worker_id, None)
            assert (view.state, view.pid, view.url) == ("ready", made.pid, made.url)
            assert view.rss_bytes > 0
            assert "ready http://127.0.0.1:4321" in view.log_tail
            assert w.supervisor.get(None, made.pid).worker_id == made.worker_id
            assert w.supervisor.loaded() == {"bee": [made.worker_id]}
            assert await w.supervisor.delete(None, made.pid) == made.worker_id
            assert w.supervisor.view() == []
            assert not psutil.pid_exists(made.pid)

    run(test)


def test_a_reason_that_the_worker_gives_reaches_the_asker() -> None:
    async def test() -> None:
        async with ward() as w:
            said = '{"code":"bad_model_file","message":"Not a GGUF.","hint":"fetch it"}'
            error = await refusal(w.spawn("--fail", said))
            assert isinstance(error, BadModelFile)
            assert (error.message, error.hint) == ("Not a GGUF.", "fetch it")
            assert w.states() == ["failed"]
            (worker,) = w.supervisor.view()
            assert (worker.reason, worker.exit_code) == ("Not a GGUF.", 1)
            assert w.supervisor.loaded() == {}

    run(test)


def test_a_death_while_loading_is_told_with_code_and_last_words() -> None:
    async def test() -> None:
        async with ward() as w:
            error = await refusal(w.spawn("--die", "3", "--say", "out of memory\n"))
            assert isinstance(error, SpawnFailed)
            assert "exit code 3" in error.message
            assert "out of memory" in error.message
            assert w.states() == ["failed"]

    run(test)


def test_a_kill_while_loading_is_told() -> None:
    async def test() -> None:
        async with ward() as w:
            async with anyio.create_task_group() as group:

                async def kill() -> None:
                    await w.until(lambda: any(v.pid for v in w.supervisor.view()))
                    os.kill(w.supervisor.view()[0].pid or 0, signal.SIGKILL)

                group.start_soon(kill)
                error = await refusal(w.spawn("--load", "30"))
            assert "signal 9" in error.message

    run(test)


def test_loading_has_a_deadline_and_a_deaf_child_is_killed() -> None:
    async def test() -> None:
        async with ward(start_limit_s=0.3, stop_grace_s=0.2) as w:
            error = await refusal(w.spawn("--load", "60", "--deaf"))
            assert "within 0.3 s" in error.message
            assert w.states() == ["failed"]
            assert not w.children()

    run(test)


def test_a_deaf_worker_is_deleted_all_the_same() -> None:
    async def test() -> None:
        async with ward(stop_grace_s=0.2) as w:
            made = await w.spawn("--deaf")
            await w.supervisor.delete(made.worker_id, None)
            assert not psutil.pid_exists(made.pid)

    run(test)


def test_a_delete_whose_asker_leaves_is_done_all_the_same() -> None:
    async def test() -> None:
        async with ward(stop_grace_s=0.3) as w:
            made = await w.spawn("--deaf")
            with anyio.move_on_after(0.05) as left:
                await w.supervisor.delete(made.worker_id, None)
            assert left.cancelled_caught
            await w.until(lambda: w.supervisor.view() == [])

    run(test)


def test_a_pipe_held_open_by_a_grandchild_does_not_hold_us() -> None:
    async def test() -> None:
        async with ward() as w:
            made = await w.spawn("--grandchild")
            (grandchild,) = psutil.Process(made.pid).children()
            with anyio.fail_after(5):
                await w.supervisor.delete(made.worker_id, None)
            grandchild.kill()

    run(test)


def test_a_crash_is_followed_by_the_same_worker_again(tmp_path: Path) -> None:
    async def test() -> None:
        async with ward() as w:
            made = await w.spawn("--die-after-ready", f"2:{tmp_path / 'deaths'}")
            await w.until(lambda: w.supervisor.view()[0].restarts == 2 and w.states() == ["ready"])
            (worker,) = w.supervisor.view()
            assert worker.worker_id == made.worker_id
            assert worker.pid != made.pid
            assert worker.reason == ""

    run(test)


def test_a_worker_that_keeps_crashing_is_given_up_and_kept_until_deleted(tmp_path: Path) -> None:
    async def test() -> None:
        async with ward(crashes_max=3) as w:
            made = await w.spawn("--die-after-ready", f"99:{tmp_path / 'deaths'}")
            await w.until(lambda: w.states() == ["failed"])
            worker = w.supervisor.get(made.worker_id, None)
            assert worker.restarts == 2
            assert "exit code 7" in worker.reason
            assert worker.log_tail
            await w.supervisor.delete(made.worker_id, None)
            assert w.states() == []

    run(test)


def test_a_worker_in_backoff_can_be_deleted(tmp_path: Path) -> None:
    async def test() -> None:
        async with ward(backoff_first_s=60.0) as w:
            made = await w.spawn("--die-after-ready", f"1:{tmp_path / 'deaths'}")
            await w.until(lambda: w.states() == ["backoff"])
            (worker,) = w.supervisor.view()
            assert (worker.pid, worker.url, worker.exit_code) == (None, "", 7)
            assert "exit code 7 while it served" in worker.reason
            with anyio.fail_after(2):
                await w.supervisor.delete(made.worker_id, None)
            assert w.states() == []

    run(test)


def test_an_asker_who_leaves_takes_the_loading_worker_along() -> None:
    async def test() -> None:
        async with ward() as w:
            async with anyio.create_task_group() as group:
                group.start_soon(w.spawn, "--load", "60")
                await w.until(lambda: any(v.pid for v in w.supervisor.view()))
                group.cancel_scope.cancel()
            assert w.supervisor.view() == []
            assert not w.children()

    run(test)


def test_the_number_of_workers_is_bounded_and_failures_do_not_count() -> None:
    async def test() -> None:
        async with ward(max_workers=1) as w:
            await refusal(w.spawn("--die", "1"))
            await w.spawn()
            assert isinstance(await refusal(w.spawn()), Overloaded)

    run(test)


def test_the_oldest_failures_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "FAILURES_KEPT", 2)

    async def test() -> None:
        async with ward() as w:
            for name in ("one", "two", "three"):
                await refusal(w.spawn("--die", "1", model=name))
            assert [v.model for v in w.supervisor.view()] == ["two", "three"]

    run(test)


def test_a_program_that_is_not_there() -> None:
    async def test() -> None:
        async with ward() as w:
            w.command = Command(["/no/such/program"], {})
            error = await refusal(w.spawn())
            assert "/no/such/program cannot be started" in error.message

    run(test)


def test_closing_stops_all_at_once() -> None:
    async def test() -> None:
        async with ward(stop_grace_s=0.5) as w:
            pids = [(await w.spawn("--deaf")).pid for _ in range(3)]
            began = anyio.current_time()
            await w.supervisor.close()
            assert anyio.current_time() - began < 1.4  # three graces in a row would take 1.5
            assert not any(psutil.pid_exists(pid) for pid in pids)

    run(test)


def test_workers_are_found_by_exactly_one_name() -> None:
    async def test() -> None:
        async with ward() as w:
            made = await w.spawn()
            find = w.supervisor.get
            for names in ((None, None), (made.worker_id, made.pid)):
                with pytest.raises(BadRequest):
                    find(*names)
            with pytest.raises(WorkerNotFound, match=made.worker_id):
                find("nobody", None)
            with pytest.raises(WorkerNotFound, match="with pid 1"):
                find(None, 1)

    run(test)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("bee", "bee"),
        ("org/Repo-GGUF/Model.Q4_K_M.gguf", "model.q4-k-m"),
        ("..", "worker"),
        ("x" * 300, "x" * 48),
    ],
)
def test_worker_ids_are_made_of_model_names(model: str, expected: str) -> None:
    assert slug(model) == expected
