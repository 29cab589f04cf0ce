"""What scenarios with numbers count, and what they take for kept: all without a process."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.contracts.answers import JobState
from rbee.keeper.chaos.acts.poison import unconvicted
from rbee.keeper.chaos.cancel import no_more
from rbee.keeper.chaos.compare import Loss, reference_of
from rbee.keeper.chaos.flood import rate_of, tokens_of
from rbee.keeper.chaos.heard import Heard, Piece
from rbee.keeper.chaos.outcome import Outcome
from rbee.keeper.chaos.plan import StopReading
from rbee.keeper.chaos.rounds import spoiled
from rbee.keeper.chaos.scenarios import SCENARIOS
from rbee.keeper.chaos.slow import uncut
from rbee.wire.stream import KEEP_ALIVE_S, SEND_DEADLINE_S

WORDS = ["one ", "two ", "three ", "four "]
WHOLE = Heard("sdk", pieces=[Piece(0.0, 0, word, i, 1) for i, word in enumerate(WORDS)])
REFERENCE = reference_of(WHOLE)


def stop_reading() -> StopReading:
    (event,) = SCENARIOS["slow-reader"].events
    assert isinstance(event, StopReading)
    return event


STOP = stop_reading()


def said(text: str, began: float = 0.0, ended: float = 2.0, code: str = "") -> Heard:
    return Heard("flood", began=began, pieces=[Piece(1.0, 0, text)], ended=ended, code=code)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("one two three four ", 4),
        ("one two three four one two ", 4),
        ("one two thr", 2),
        ("one six three four ", 1),
        ("six ", 0),
        ("", 0),
    ],
)
def test_tokens_that_came_are_counted_and_no_others(text: str, tokens: int) -> None:
    assert tokens_of(text, REFERENCE) == tokens


@given(st.integers(0, len(WORDS)))
def test_an_answer_that_was_cut_raises_no_rate(kept: int) -> None:
    whole = "".join(WORDS)
    heard = [said(whole), said("".join(WORDS[:kept]), began=0.5, ended=4.0)]
    assert rate_of(heard, REFERENCE) == pytest.approx((4 + kept) / 4.0)


def test_an_answer_that_failed_counts_for_nothing() -> None:
    assert rate_of([said("one ", code="late")], REFERENCE) == 0.0
    assert rate_of([], REFERENCE) == 0.0


def test_of_several_measurements_of_memory_the_worst_counts() -> None:
    outcome = Outcome(2)
    for ratio in (1.0, 1.5, 1.1):
        outcome.grew({"queen": ratio})
    assert outcome.grown == {"queen": 1.5}


@pytest.mark.parametrize(
    ("took_s", "state", "wrong"),
    [
        (66.0, "cancelled", []),
        (20.0, "cancelled", ["a reader was cut 20 s after its last byte already"]),
        (66.0, "done", ["an answer that nobody took is done, not cancelled"]),
        (66.0, "failed", ["an answer that nobody took is failed, not cancelled"]),
        (66.0, None, ["an answer that nobody took is forgotten, not cancelled"]),
    ],
)
def test_only_a_cut_after_its_time_is_one(
    took_s: float, state: JobState | None, wrong: list[str]
) -> None:
    assert uncut(STOP, took_s, state) == wrong


def test_the_time_of_a_cut_is_what_the_server_says() -> None:
    """It looks every half `KEEP_ALIVE_S`; the first look may only see that bytes have arrived."""
    look_s = KEEP_ALIVE_S / 2
    assert STOP.beside_s < STOP.not_before_s <= SEND_DEADLINE_S - look_s
    assert SEND_DEADLINE_S + 2 * look_s < STOP.cut_within_s


@pytest.mark.parametrize(
    ("now", "free"),
    [((0, 8, 4, 4), True), ((0, 7, 3, 4), True), ((0, 8, 5, 4), False), ((1, 8, 4, 4), False)],
)
def test_a_slot_that_is_held_is_not_free(now: tuple[int, ...], free: bool) -> None:
    assert no_more(now, (0, 8, 4, 4)) is free


POISON = {"code": "poison_request"}


@pytest.mark.parametrize(
    ("killed", "first", "again", "wrong"),
    [
        (2, POISON, POISON, []),
        (0, POISON, POISON, ["0 workers died of one poison request, not 2"]),
        (1, POISON, POISON, ["1 workers died of one poison request, not 2"]),
        (3, POISON, POISON, ["3 workers died of one poison request, not 2"]),
        (2, {}, POISON, ["the poison request got nothing, not poison_request"]),
        (2, POISON, {}, ["sent again it got an answer, not poison_request"]),
    ],
)
def test_poison_is_known_after_two_dead_workers(
    killed: int, first: dict[str, Any], again: dict[str, Any], wrong: list[str]
) -> None:
    assert unconvicted(killed, Heard("first", **first), Heard("again", **again)) == wrong


@pytest.mark.parametrize(
    ("code", "loss", "wrong"),
    [
        ("", Loss(), []),
        ("", Loss(differs="here"), []),
        ("", Loss(lost=2), ["some beside others: 2 characters lost, 0 repeated"]),
        ("", Loss(repeated=3), ["some beside others: 0 characters lost, 3 repeated"]),
        ("late", Loss(), ["some failed beside others (late): No end."]),
    ],
)
def test_only_an_answer_that_differs_varies_by_itself(
    code: str, loss: Loss, wrong: list[str]
) -> None:
    assert spoiled(Heard("some", code=code, message="No end."), loss) == wrong
