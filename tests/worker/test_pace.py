"""How much of a prompt a step takes: by what steps were seen to cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.worker.engine.pace import LEAST, LOOK_AGAIN, STRETCH, Pace

BUDGET = 512


def machine(pace: Pace, decode_s: float, pass_s: float, token_s: float, steps: int) -> list[float]:
    """Steps beside eight streams on a machine of that speed: how long those with a prompt took."""
    took = []
    for _ in range(steps):
        tokens = pace.allowance(8)
        step = decode_s + (pass_s + tokens * token_s if tokens else 0.0)
        pace.observe(8, tokens, step)
        if tokens:
            took.append(step)
    return took


def test_a_prompt_alone_gets_everything() -> None:
    assert Pace(BUDGET).allowance(0) == BUDGET


@given(st.integers(0, 64), st.integers(1, 4096))
def test_never_more_than_the_budget(decoding: int, budget: int) -> None:
    assert 0 <= Pace(budget).allowance(decoding) <= budget


@pytest.mark.parametrize(("decode_s", "token_s"), [(0.04, 0.0016), (0.4, 0.02), (0.01, 0.0001)])
def test_a_step_with_a_prompt_stays_within_the_stretch(decode_s: float, token_s: float) -> None:
    pace = Pace(BUDGET)
    pace.observe(8, 0, decode_s)
    took = machine(pace, decode_s, decode_s / 4, token_s, 60)
    assert max(took[1:]) <= decode_s * 3
    assert sum(took[30:]) / len(took[30:]) == pytest.approx(decode_s * STRETCH, rel=0.15)


def test_a_prompt_gets_on_however_slow_it_is() -> None:
    pace = Pace(BUDGET)
    pace.observe(8, 0, 0.001)
    machine(pace, 0.001, 1.0, 1.0, 10)
    assert pace.allowance(8) == LEAST


def test_a_machine_that_became_slow_is_found_out() -> None:
    """What a step without a prompt takes is looked at again, also while prompts never end."""
    pace = Pace(BUDGET)
    pace.observe(8, 0, 0.04)
    machine(pace, 0.04, 0.01, 0.0016, 30)
    usual = pace.allowance(8)
    machine(pace, 0.12, 0.03, 0.0048, 4 * LOOK_AGAIN)
    assert pace.allowance(8) == pytest.approx(usual, rel=0.2)
