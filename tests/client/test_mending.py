"""What is done after a request did not get on: laws of the decision."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.client.mending import (
    LEARN_S,
    MAX_PAUSE_S,
    PAUSE_S,
    Ask,
    Attach,
    GiveUp,
    Stand,
    Step,
    Trouble,
    after,
    learn_s,
    pause_s,
)

PATIENCE_S = 30.0
TROUBLES: st.SearchStrategy[Trouble] = st.sampled_from(["refused", "broke", "unknown"])
STANDS = st.builds(
    Stand,
    queens=st.integers(1, 4),
    met=st.booleans(),
    sent=st.booleans(),
    spoken=st.booleans(),
)
CHANCE = st.floats(0, 1)


def walk(
    stand: Stand, troubles: Sequence[tuple[Trouble, float, float]], patience_s: float = PATIENCE_S
) -> list[tuple[float, Stand, Step]]:
    """Every step with when it was decided, until it is given up; each try takes a while."""
    now, steps = 0.0, list[tuple[float, Stand, Step]]()
    for trouble, took_s, chance in troubles:
        now += took_s
        stand, step = after(stand, trouble, now, patience_s, chance)
        steps.append((now, stand, step))
        if isinstance(step, GiveUp):
            break
        now += step.wait_s
    return steps


TRIES = st.lists(st.tuples(TROUBLES, st.floats(0, 3), CHANCE), min_size=1, max_size=60)


@given(STANDS, TRIES)
def test_all_ends_within_the_patience(
    stand: Stand, tries: list[tuple[Trouble, float, float]]
) -> None:
    steps = walk(stand, tries)
    began = steps[0][0]
    for now, _, step in steps:
        if not isinstance(step, GiveUp):
            assert 0 <= step.wait_s <= min(MAX_PAUSE_S, began + PATIENCE_S - now)


@given(STANDS, st.lists(st.tuples(TROUBLES, st.just(0.0), CHANCE), min_size=2, max_size=40))
def test_every_queen_is_tried_before_a_pause(
    stand: Stand, tries: list[tuple[Trouble, float, float]]
) -> None:
    at, tried, unpaused = 0, {0}, 0
    for _, _, step in walk(stand, tries):
        if isinstance(step, GiveUp):
            return
        unpaused = 0 if step.wait_s else unpaused + 1
        assert unpaused < stand.queens
        if step.wait_s:
            assert len(tried) == stand.queens or (not step.onwards and tried == {0})
            tried = set()
        at = (at + step.onwards) % stand.queens
        tried.add(at)


@given(STANDS, TRIES)
def test_what_has_spoken_is_never_asked_for_anew(
    stand: Stand, tries: list[tuple[Trouble, float, float]]
) -> None:
    for _, then, step in walk(stand.spoke().opened(), tries):
        assert then.spoken
        assert not isinstance(step, Ask)


@given(STANDS, TRIES)
def test_what_may_have_arrived_is_asked_again_only_when_nobody_has_known_it_for_long(
    stand: Stand, tries: list[tuple[Trouble, float, float]]
) -> None:
    unknown_since: float | None = None
    sent = stand.sent
    for (now, _, step), (trouble, _, _) in zip(walk(stand, tries), tries, strict=False):
        sent = sent or trouble != "refused"
        if trouble == "unknown":
            unknown_since = now if unknown_since is None else unknown_since
        if isinstance(step, Ask) and sent:
            assert trouble == "unknown"
            assert unknown_since is not None
            assert now - unknown_since >= learn_s(PATIENCE_S) == LEARN_S
            unknown_since = None


@given(STANDS, st.lists(st.tuples(st.just("refused"), st.floats(0, 3), CHANCE), min_size=1))
def test_who_was_refused_asks_again_and_a_stranger_does_not_wait(
    stand: Stand, tries: list[tuple[Trouble, float, float]]
) -> None:
    patient = stand.met or stand.queens > 1
    for number, (now, then, step) in enumerate(walk(stand, tries)):
        assert then.sent == stand.sent
        if not patient:
            assert (number, step) == (0, GiveUp())
        elif now - tries[0][1] < PATIENCE_S:
            assert isinstance(step, Attach if stand.sent else Ask)


@given(CHANCE)
def test_pauses_double_up_to_the_longest(chance: float) -> None:
    pauses = [pause_s(n, chance) for n in range(2_000)]
    assert PAUSE_S / 2 <= pauses[0] <= PAUSE_S
    assert all(b == pytest.approx(min(2 * a, pauses[-1])) for a, b in pairwise(pauses))
    assert MAX_PAUSE_S / 2 <= pauses[-1] <= MAX_PAUSE_S


def test_without_patience_a_break_is_the_end() -> None:
    for trouble in ("refused", "broke", "unknown"):
        assert after(Stand(met=True), trouble, 0.0, 0.0, 0.5)[1] == GiveUp()
