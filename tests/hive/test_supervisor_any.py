"""Whatever is asked of a supervisor, in whatever order: its list and the system's agree."""

from __future__ import annotations

from contextlib import suppress

import anyio
import psutil
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rbee.errors import RbeeError
from rbee.hive.lifecycle import ALIVE
from tests.hive.ward import Ward, ward

STEPS = st.lists(
    st.sampled_from(["spawn", "spawn", "fail", "leave", "kill", "delete"]), min_size=1, max_size=7
)


async def step(w: Ward, what: str) -> None:
    listed = w.supervisor.view()
    match what:
        case "spawn":
            await w.spawn("--steps", "1")
        case "fail":
            await w.spawn("--die", "1")
        case "leave":
            with anyio.move_on_after(0.05):
                await w.spawn("--load", "60")
        case "kill" if listed and listed[0].pid:
            psutil.Process(listed[0].pid).kill()
            await w.until(lambda: _settled(w, listed[0].pid))
        case "delete" if listed:
            await w.supervisor.delete(listed[-1].worker_id, None)


def _settled(w: Ward, killed: int | None) -> bool:
    return all(
        v.pid != killed and v.state not in ("starting", "backoff") for v in w.supervisor.view()
    )


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_any_order(steps: list[str]) -> None:
    async def test() -> None:
        async with ward(max_workers=3, crashes_max=100) as w:
            for what in steps:
                with suppress(RbeeError):  # refused, or failed as asked: the law holds all the same
                    await step(w, what)
                _check(w)
        assert not w.children()

    anyio.run(test)


def _check(w: Ward) -> None:
    view = w.supervisor.view()
    alive = {v.pid for v in view if v.state in ALIVE}
    assert alive == w.children()
    assert len({v.worker_id for v in view}) == len(view)
    assert len(alive) <= 3
    held = {i for ids in w.supervisor.loaded().values() for i in ids}
    assert held == {v.worker_id for v in view if v.state in ALIVE}
