"""No honest step is ever taken for a wedged one, and a hung one soon is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.worker.engine.patience import LEAST_S, SLACK, UNKNOWN_S, Patience

STEPS = st.lists(
    st.tuples(st.integers(0, 64), st.integers(0, 4_096), st.floats(1.0, 1.5)).filter(
        lambda step: step[0] + step[1] > 0
    ),
    min_size=1,
    max_size=60,
)
"""How many streams decode, how much of prompts is computed, and how busy the machine is."""


@given(fixed_s=st.floats(1e-4, 4.0), token_s=st.floats(0.0, 0.05), steps=STEPS)
def test_no_honest_step_is_taken_for_a_wedged_one(
    fixed_s: float, token_s: float, steps: list[tuple[int, int, float]]
) -> None:
    """Whatever a machine needs for a step and for a token in it, in whatever order they come."""
    patience, nothing_known = Patience(), True
    for decoding, cells, busy in steps:
        took = (fixed_s + token_s * (decoding + cells)) * busy
        assert took <= patience.limit_s(decoding, cells) or (nothing_known and took > UNKNOWN_S)
        patience.observe(decoding, cells, took)
        nothing_known = False


@given(steps=st.lists(st.tuples(st.integers(0, 64), st.integers(0, 4_096)), max_size=60))
def test_there_is_always_a_limit(steps: list[tuple[int, int]]) -> None:
    patience = Patience()
    for decoding, cells in steps:
        assert LEAST_S <= patience.limit_s(decoding, cells) < float("inf")
        patience.observe(decoding, cells, 0.02)


def test_a_big_model_on_a_slow_machine() -> None:
    """20 s for 512 prompt tokens, 2 s a decoding step."""
    patience = Patience()
    assert patience.limit_s(0, 512) == UNKNOWN_S
    patience.observe(0, 512, 20.0)
    assert patience.limit_s(0, 512) == SLACK * 20
    assert patience.limit_s(0, 130) == SLACK * 20, "a smaller one is not taken to be cheaper"
    patience.observe(1, 0, 2.0)
    assert patience.limit_s(1, 0) == SLACK * 2
    assert patience.limit_s(1, 511) == SLACK * 20
    assert patience.limit_s(2, 0) == SLACK * 2


def test_a_fast_model_that_hangs_is_noticed_after_three_seconds() -> None:
    patience = Patience()
    patience.observe(0, 512, 0.3)
    patience.observe(1, 0, 0.005)
    for width in (1, 2, 16, 64):
        assert patience.limit_s(width, 0) == LEAST_S
    assert patience.limit_s(4, 400) == LEAST_S


def test_the_first_large_prompt_is_borne_by_what_is_known() -> None:
    """As many decoding steps as it has tokens, where that is more than what is borne anyway."""
    slow, fast = Patience(), Patience()
    slow.observe(1, 0, 2.0)
    fast.observe(1, 0, 0.01)
    assert slow.limit_s(0, 512) == 2 * 512 * 2.0
    assert fast.limit_s(0, 512) == UNKNOWN_S
    assert fast.limit_s(16, 0) == LEAST_S, "streams are no prompt"


def test_one_bad_moment_is_forgotten() -> None:
    patience = Patience()
    patience.observe(4, 0, 20.0)
    assert patience.limit_s(4, 0) == 80.0
    for _ in range(100):
        patience.observe(4, 0, 0.01)
    assert patience.limit_s(4, 0) == LEAST_S


def test_a_conversation_that_grows_is_followed() -> None:
    """A step takes longer with every token, from 0.1 s to 30 s."""
    patience = Patience()
    took = 0.1
    while took < 30.0:
        assert took <= patience.limit_s(1, 0)
        patience.observe(1, 0, took)
        took *= 1.01


@pytest.mark.parametrize("kind", [(0, 1), (1, 0)])
def test_it_says_what_it_knows(kind: tuple[int, int]) -> None:
    patience = Patience()
    patience.observe(*kind, 0.5)
    assert repr(patience) == "<Patience seconds by tokens {1: 0.5}>"
