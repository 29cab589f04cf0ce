"""The schedule that a seed makes, the checks, and the table: all without a process."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.keeper.chaos import checks, table
from rbee.keeper.chaos.acts import ACTS
from rbee.keeper.chaos.asks import DECK, deck
from rbee.keeper.chaos.compare import Loss, reference_of
from rbee.keeper.chaos.draw import after, turns
from rbee.keeper.chaos.heard import Heard, Piece
from rbee.keeper.chaos.outcome import Flooded, Outcome, Row, Strike, p99, row
from rbee.keeper.chaos.plan import Scenario, Turn
from rbee.keeper.chaos.rounds import was_over
from rbee.keeper.chaos.run import OWN, WAYS
from rbee.keeper.chaos.scenarios import SCENARIOS

KILL = SCENARIOS["worker-kill"]
ROW = Row("some", 3, 12, 1, 0, 7, 2, 361.04, None, None, False, ("one reason", "and another"))


def schedule(scenario: Scenario, seed: int, count: int = 20) -> list[Turn]:
    return list(islice(turns(scenario, seed, deck(scenario.load.doors)), count))


@given(st.integers(0, 2**31 - 1))
def test_the_same_seed_makes_the_same_schedule(seed: int) -> None:
    assert schedule(KILL, seed) == schedule(KILL, seed)
    assert schedule(KILL, seed) != schedule(KILL, seed + 1)
    assert schedule(KILL, seed) != schedule(SCENARIOS["worker-wedge"], seed)


@given(st.integers(0, 2**31 - 1), st.integers(2, 1_000))
def test_a_victim_is_a_long_answer_and_is_hit_inside_of_it(seed: int, pieces: int) -> None:
    long = {ask.name for ask in DECK if ask.long}
    for turn in schedule(KILL, seed):
        assert len(turn.asks) == KILL.load.width
        assert turn.asks[turn.victim] in long
        assert 1 <= after(turn, pieces).pieces < pieces
        assert after(turn, pieces).tokens == 0


@given(st.integers(0, 2**31 - 1), st.integers(2, 20), st.integers(2, 100))
def test_what_is_held_back_is_hit_inside_of_a_piece(seed: int, pieces: int, held: int) -> None:
    for turn in schedule(KILL, seed):
        moment = after(turn, pieces, held)
        assert 1 <= moment.pieces < pieces and 0 <= moment.tokens <= held


def test_any_part_of_an_answer_can_be_hit() -> None:
    places = [after(turn, 100).pieces for turn in schedule(KILL, 1, 1_000)]
    assert min(places) == 1 and max(places) == 97


@pytest.mark.parametrize(
    ("harm", "over"),
    [
        ({"ended": 2.02}, True),
        ({"ended": 2.2}, False),
        ({"ended": 2.02, "migrations": 1}, False),
        ({"ended": 2.02, "code": "worker_gone"}, False),
    ],
)
def test_an_answer_whose_end_was_on_its_way_was_not_hit(harm: dict[str, Any], over: bool) -> None:
    assert was_over(done(**harm), Strike("killed", 2.0)) is over


def test_tool_calls_are_among_what_the_suite_hits() -> None:
    hit = {turn.asks[turn.victim] for turn in schedule(KILL, 1, KILL.n)}
    assert {"sdk calls", "chat calls"} <= hit


def test_every_second_round_has_an_odd_number() -> None:
    assert [turn.salt % 2 for turn in schedule(KILL, 1)] == [0, 1] * 10


def test_every_kind_of_request_comes_up() -> None:
    drawn = {ask for turn in schedule(KILL, 1, 200) for ask in turn.asks}
    assert drawn == {ask.name for ask in deck(KILL.load.doors)}
    assert len({ask.name for ask in DECK}) == len(DECK)


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda s: s.name)
def test_a_scenario_names_only_what_there_is(scenario: Scenario) -> None:
    assert scenario.way in (*WAYS, "own")
    own = {type(event) for event in scenario.events if not isinstance(event, str)}
    assert set(scenario.events) <= set(ACTS) or own <= set(OWN)
    assert bool(own) == (scenario.way == "own")
    assert set(scenario.checks) <= set(checks.CHECKS)
    assert deck(scenario.load.doors) and scenario.n > 0
    assert len(scenario.events) == 1 or scenario.way == "steady"


def done(name: str = "sdk chat", **fields: object) -> Heard:
    heard = Heard(name, ended=2.0, pieces=[Piece(0.0, 0, "a"), Piece(0.5, 0, "b")])
    for key, value in fields.items():
        setattr(heard, key, value)
    return heard


def good() -> Outcome:
    made = Outcome(1, heard=[done(migrations=1), done("chat")], losses=[Loss(), Loss()])
    made.strikes = [Strike("killed", 0.1, victim=made.heard[0], standstill_s=0.4)]
    return made


def test_a_good_outcome_passes_every_check_of_its_scenario() -> None:
    assert checks.reasons(KILL, good()) == []


@pytest.mark.parametrize(
    ("name", "harm", "why"),
    [
        ("worker-kill", {"heard": []}, "nothing was asked"),
        ("worker-kill", {"losses": [Loss(lost=3)]}, "3 characters lost, 0 repeated"),
        ("worker-kill", {"losses": [Loss(differs="here")]}, "1 answers differ: here"),
        ("worker-kill", {"strikes": []}, "only 0 of 1 came in the middle of an answer"),
        ("worker-kill", {"wrong": ["broken off"]}, "broken off"),
        ("worker-kill", {"heard": [done(code="worker_gone", message="It is gone.")]},
         "1 of 1 failed (1 worker_gone): It is gone."),
        ("worker-kill", {"strikes": [Strike("killed", 0.1, victim=done())]},
         "1 answers whose worker was lost say that they never moved"),
        ("queen-kill", {}, "1 answers moved although no worker was lost"),
        ("worker-kill", {"strikes": [Strike("killed", 0.1, victim=done("chat"))]},
         "1 answers whose worker was lost say that they never moved"),
        ("worker-wedge", {"strikes": [Strike("s", 0.1, done(migrations=1), 0.4, silence_s=8.0)]},
         "an answer stood still for 8.0 s, not 7 s at most"),
        ("slow-reader", {"grown": {"queen": 1.5}}, 
         "the memory of queen grew to 1.50 of what it was"),
        ("rolling-restart", {"strikes": [Strike("r", 0.1, act="replace-hives", asked_again=2)]},
         "2 times somebody had to try again while only hives were replaced"),
        ("overload", {}, "nobody was refused: it was no overload"),
        ("overload", {"flood": Flooded([0.08], 0, [10.0], [10.0])},
         "refusals took 80 ms (p99), not 50 at most"),
        ("overload", {"flood": Flooded([0.01], 2, [10.0], [10.0])},
         "2 refusals without Retry-After"),
        ("overload", {"flood": Flooded([0.01], 0, [9.0, 10.0], [9.0, 10.0])},
         "goodput fell to 90% of its peak"),
        ("overload", {"flood": Flooded([0.01], 0, [0.0], [0.0])},
         "nothing was answered before the flood: there is no peak"),
        ("overload", {"flood": Flooded([0.01], 0, [9.0], [9.0]), "losses": [Loss(lost=3)]},
         "3 characters lost, 0 repeated"),
        ("worker-kill", {"strikes": [Strike("k", 0.1, done(migrations=1), 0.1, ["a port"])]},
         "a port"),
    ],
)  # fmt: skip
def test_each_check_can_fail(name: str, harm: dict[str, object], why: str) -> None:
    assert checks.reasons(SCENARIOS[name], replace(good(), **harm)) == [why]  # type: ignore[arg-type]


def test_a_row_tells_what_was_measured_and_each_answer_is_judged_once() -> None:
    outcome = replace(good(), losses=[])
    reference = reference_of(outcome.heard[0])
    for _ in range(2):
        outcome.judge(
            {"sdk chat": reference, "chat": reference}, {"sdk chat": False, "chat": False}
        )
    assert outcome.losses == [Loss(), Loss()] and not outcome.heard[0].pieces
    made = row("worker-kill", outcome, [])
    assert made == Row(
        "worker-kill", 1, 2, 0, 0, 0, 0, 500.0, 400.0, 400.0, True, (),
        pause_p50_ms=500.0, pause_max_ms=500.0,
    )  # fmt: skip


def test_trying_again_is_told_by_act_and_pauses_by_their_middle_and_their_end() -> None:
    acts = (("replace-hives", 0), ("replace-queen", 3), ("replace-queen", 4), ("", 9))
    strikes = [Strike("r", 0.0, act=act, asked_again=tries) for act, tries in acts]
    made = row("some", Outcome(1, strikes=strikes, pauses_s=[0.1, 0.2, 3.0]), [])
    assert made.asked_again_by == {"replace-hives": 0, "replace-queen": 7}
    assert (made.pause_p50_ms, made.pause_p99_ms, made.pause_max_ms) == (200.0, 3000.0, 3000.0)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=300))
def test_p99_leaves_one_of_a_hundred_out(values: list[float]) -> None:
    limit = p99(values)
    assert sum(value > limit for value in values) <= len(values) // 100
    assert limit in values


def test_the_table_tells_every_reason_and_json_every_row(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert table.cells(ROW) == (
        "some", "3", "12", "1", "0", "7", "2", "361 ms", "-", "-", "FAILED",
    )  # fmt: skip
    assert not table.show([ROW], 5, as_json=False)
    shown = capsys.readouterr().out
    assert "some: one reason" in shown and "some: and another" in shown and "seed 5" in shown
    passed = replace(ROW, passed=True, why=())
    assert table.show([passed], 5, as_json=True)
    line = json.loads(capsys.readouterr().out)
    assert line["scenario"] == "some" and line["seed"] == 5 and line["passed"] is True


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0.4, "0 ms"), (12_340.0, "12.3 s")])
def test_milliseconds_read_well(value: float | None, text: str) -> None:
    assert table.milliseconds(value) == text
