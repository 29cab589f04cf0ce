"""When a worker counts as wedged: never too early, always in time, whatever the beats say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rbee.hive.pulse import SILENT_S, Pulse, ailment

TIMES = st.floats(0, 1e9)
SPANS = st.floats(0, 1e6)


def test_who_beats_and_steps_is_well() -> None:
    assert ailment(Pulse(heard=100.0), now=103.9, awake=0.0) == ""
    assert ailment(Pulse(100.0, step_age_s=4.9, step_limit_s=5.0), 100.0, 0.0) == ""


def test_who_is_silent_is_ill_and_it_is_told_for_how_long() -> None:
    assert ailment(Pulse(heard=100.0), now=104.2, awake=0.0) == "it was silent for 4.2 s"


def test_a_step_that_takes_too_long_is_told_with_both_times() -> None:
    pulse = Pulse(100.0, running=1, step=17, step_age_s=12.0, step_limit_s=5.0)
    told = ailment(pulse, now=100.5, awake=0.0)
    assert "step 17" in told and "12.0 s" in told and "5.0 s" in told


def test_a_worker_that_cannot_tell_a_limit_has_none() -> None:
    assert ailment(Pulse(100.0, step_age_s=9e9, step_limit_s=0.0), 100.0, 0.0) == ""


@given(TIMES, SPANS, SPANS)
def test_silence_counts_from_when_we_listen(heard: float, slept: float, since: float) -> None:
    """A hive that was stopped itself, however long, kills nobody when it is continued."""
    awake = heard + slept
    assert bool(ailment(Pulse(heard), awake + since, awake)) == (awake + since - awake >= SILENT_S)


@given(TIMES, SPANS, SPANS)
def test_the_limit_alone_decides_about_a_step(heard: float, age: float, limit: float) -> None:
    pulse = Pulse(heard, step_age_s=age, step_limit_s=limit)
    assert bool(ailment(pulse, heard, 0.0)) == (0 < limit < age)
