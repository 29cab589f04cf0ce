"""The table of a worker's states is total and has one end; restarts are bounded."""

from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from rbee.contracts.fleet import WorkerState
from rbee.hive.lifecycle import (
    ALIVE,
    MOVES,
    ChildState,
    after_exit,
    backoff_s,
    crashes_in_a_row,
)

STATES: tuple[ChildState, ...] = get_args(ChildState)


def test_the_table_is_total() -> None:
    assert set(MOVES) == set(STATES)
    assert set(STATES) | {"draining"} == set(get_args(WorkerState))
    assert all(target in MOVES for targets in MOVES.values() for target in targets)
    assert set(STATES) > ALIVE


def test_every_state_can_be_stopped_and_only_stopped_is_the_end() -> None:
    for state in STATES:
        if state not in ("stopping", "stopped"):
            assert "stopping" in MOVES[state]
    assert [s for s in STATES if not MOVES[s]] == ["stopped"]


def test_a_worker_that_never_served_is_not_tried_again() -> None:
    assert after_exit(has_served=False, crashes=1, crashes_max=5) == "failed"
    assert [after_exit(True, n, 3) for n in (1, 2, 3, 4)] == [
        "backoff",
        "backoff",
        "failed",
        "failed",
    ]


def test_the_wait_doubles_up_to_its_bound() -> None:
    assert [backoff_s(n, 1.0, 60.0) for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


@given(st.integers(1, 10**9), st.floats(0.05, 3_600), st.floats(0.05, 3_600))
def test_the_wait_is_bounded_for_any_count(crashes: int, first: float, most: float) -> None:
    assert 0 < backoff_s(crashes, first, most) <= most


def test_serving_long_enough_forgives() -> None:
    assert crashes_in_a_row(4, served_s=59.0, forgiven_s=60.0) == 5
    assert crashes_in_a_row(4, served_s=60.0, forgiven_s=60.0) == 1
