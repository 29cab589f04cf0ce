"""The table of a worker's states is total and has one end; restarts are bounded."""

from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from rbee.contracts.fleet import WorkerState
from rbee.hive.lifecycle import (
    ALIVE,
    JITTER,
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
    waits = [backoff_s(n, 1.0, 60.0, chance=0.0) for n in range(1, 9)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff_s(3, 1.0, 60.0, chance=1.0) == 3


@given(
    st.integers(1, 10**9),
    st.floats(0.05, 3_600),
    st.floats(0.05, 3_600),
    st.lists(st.floats(0, 1), min_size=2, max_size=2, unique=True).map(sorted),
)
def test_the_wait_is_bounded_for_any_count_and_a_part_of_it_is_chance(
    failures: int, first: float, most: float, chances: list[float]
) -> None:
    whole = backoff_s(failures, first, most, 0.0)
    early, late = (backoff_s(failures, first, most, chance) for chance in reversed(chances))
    assert (1 - JITTER) * whole <= early <= late <= whole <= most
    assert whole >= min(first, most) and backoff_s(failures + 1, first, most, 0.0) >= whole


def test_serving_long_enough_forgives() -> None:
    assert crashes_in_a_row(4, served_s=59.0, forgiven_s=60.0) == 5
    assert crashes_in_a_row(4, served_s=60.0, forgiven_s=60.0) == 1
