"""The registry by examples; `test_machine_registry` draws histories."""

from __future__ import annotations

from typing import Any

import pytest

import rbee.queen.registry as registry_module
from rbee.errors import Overloaded
from rbee.queen.picture import RETURN_S
from rbee.queen.registry import FORGET_S, Registry
from tests.queen.fleets import hive, process, worker

BEAT_S, MISSED = 2.0, 3
SILENCE_S = BEAT_S * MISSED


def a_registry(settle_s: float = 0.0) -> Registry:
    return Registry(0.0, beat_s=BEAT_S, beats_missed=MISSED, settle_s=settle_s)


def asked(registry: Registry, now: float) -> list[str]:
    return sorted(w.id for w in registry.view(now).workers)


def test_what_its_hive_calls_crashed_gets_no_requests_at_once() -> None:
    for state in ("failed", "backoff", "stopping", "starting"):
        registry = a_registry()
        registry.beat(worker("w", hive_id="h"), 0.0)
        registry.beat(hive("h", workers=[process("w")]), 0.1)
        assert asked(registry, 0.2) == ["w"]
        registry.beat(hive("h", seq=2, workers=[process("w", state=state)]), 0.3)
        assert asked(registry, 0.4) == []


def test_what_its_hive_no_longer_lists_gets_no_requests() -> None:
    registry = a_registry()
    registry.beat(hive("h"), 0.0)
    registry.beat(worker("w", hive_id="h"), 0.1)
    assert asked(registry, 0.1) == ["w"], "the hive's beat is older than the worker"
    registry.beat(hive("h", seq=2), 0.2)
    registry.beat(worker("w", seq=2, hive_id="h"), 0.3)
    assert asked(registry, 0.3) == []


def test_what_its_hive_has_given_up_is_not_waited_for() -> None:
    registry = a_registry()
    registry.beat(worker("w", hive_id="h"), 0.0)
    registry.beat(hive("h", workers=[process("w", state="backoff")]), 0.1)
    assert [w.id for w in registry.view(0.1).hesitant] == ["w"]
    for seq, workers in enumerate(([process("w", state="failed")], []), 2):
        registry.beat(hive("h", seq=seq, workers=workers), 0.2)
        assert registry.view(0.2).hesitant == []


def test_a_life_thought_superseded_is_heard_when_its_successor_is_silent() -> None:
    registry = a_registry()
    registry.beat(worker("w", "new", seq=5), 0.0)
    registry.beat(worker("w", "old", seq=9), 0.1)
    registry.beat(worker("w", "new", seq=6), 1.0)
    assert [w.incarnation for w in registry.view(1.0).workers] == ["old"]
    registry.beat(worker("w", "new", seq=9), SILENCE_S + 0.2)
    assert [w.incarnation for w in registry.view(SILENCE_S + 0.2).workers] == ["new"]


def test_past_lives_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "MAX_PAST_LIVES", 10)
    monkeypatch.setattr(registry_module, "MAX_WORKERS", 2)
    registry = a_registry()
    for life in range(50):
        registry.beat(worker("w", str(life)), 0.0)
    assert len(registry._past) == 10
    registry.beat(worker("second"), 0.0)
    with pytest.raises(Overloaded):
        registry.beat(worker("third"), 0.0)


def test_a_restarted_child_is_asked_once_it_beats() -> None:
    registry = a_registry()
    registry.beat(worker("w", "1", hive_id="h"), 0.0)
    registry.beat(hive("h", workers=[process("w", state="starting")]), 0.1)
    assert asked(registry, 0.1) == []
    registry.beat(worker("w", "2", hive_id="h"), 0.2)
    assert asked(registry, 0.2) == ["w"]


def test_a_dead_hives_word_no_longer_counts() -> None:
    registry = a_registry()
    registry.beat(hive("h"), 0.0)
    registry.beat(worker("w", hive_id="h"), 0.05)
    registry.beat(hive("h", seq=2), 0.1)
    registry.beat(worker("w", seq=2, hive_id="h"), SILENCE_S)
    assert asked(registry, SILENCE_S) == []
    assert asked(registry, SILENCE_S + 0.2) == ["w"]


def test_a_wedged_worker_is_left_alone_until_it_shows_another_step() -> None:
    registry = a_registry()
    stuck: dict[str, Any] = {"step_limit_s": 2.0, "step": 7}
    registry.beat(worker("w", step_age_s=1.9, **stuck), 0.0)
    leased = registry.view(0.0).workers[0]
    assert registry.lost(leased, 0.0) is None
    registry.beat(worker("w", seq=2, step_age_s=2.1, **stuck), 1.0)
    assert asked(registry, 1.0) == []
    loss = registry.lost(leased, 1.0)
    assert loss is not None and (loss.kind, loss.crash) == ("wedged", True)
    registry.beat(worker("w", seq=3, step=7), 2.0)
    assert asked(registry, 2.0) == [], "it has shown no other step"
    registry.beat(worker("w", seq=4, step=8), 3.0)
    assert asked(registry, 3.0) == ["w"] and registry.lost(leased, 3.0) is None
    registry.beat(worker("w", seq=5, step=9, step_age_s=900.0), 4.0)
    assert asked(registry, 4.0) == ["w"], "without a limit nobody knows"


def test_why_a_worker_is_lost() -> None:
    """By its own word, its hive's, its next life or its silence; a suspicion is not enough."""
    registry = a_registry()
    registry.beat(hive("h", workers=[process("w")]), 0.0)
    registry.beat(worker("w", hive_id="h", pid=5), 0.1)
    leased = registry.view(0.1).workers[0]

    def why() -> str:
        loss = registry.lost(leased, 0.5)
        return "" if loss is None else loss.kind

    registry.suspect("w", "1")
    assert (asked(registry, 0.1), why(), registry.suspected(leased)) == ([], "", True)
    registry.beat(worker("w", seq=2, hive_id="h", pid=5, state="draining"), 0.2)
    assert (asked(registry, 0.2), why(), registry.suspected(leased)) == ([], "", True)
    registry.beat(worker("w", seq=3, hive_id="h", pid=5, state="draining"), 0.2)
    assert not registry.suspected(leased), "the first beat may have been on its way before"
    told = {"draining": "", "stopping": "", "stopped": "ended", "backoff": "crashed"}
    told["failed"] = "crashed"
    for seq, (state, kind) in enumerate(told.items(), 2):
        registry.beat(hive("h", seq=seq, workers=[process("w", state=state)]), 0.3)
        assert why() == kind, state
    for seq, (pid, kind) in enumerate(((None, ""), (5, ""), (6, "crashed")), 10):
        registry.beat(hive("h", seq=seq, workers=[process("w", state="starting", pid=pid)]), 0.3)
        assert why() == kind, pid
    registry.beat(hive("h", seq=20, workers=[]), 0.3)
    assert why() == "ended"
    registry.beat(hive("h", seq=21, state="stopped"), 0.4)
    assert why() == "", "its own word counts again"
    registry.beat(worker("w", "2", hive_id="h"), 0.4)
    assert why() == "crashed"
    second = registry.view(0.5).workers[0]
    late = registry.lost(second, 0.4 + SILENCE_S)
    assert late is not None and late.kind == "silent" and not late.crash
    registry.beat(worker("w", "2", seq=2, state="stopped"), 0.6)
    registry.beat(worker("w", "3"), 0.7)
    ended = registry.lost(second, 0.7)
    assert ended is not None and ended.kind == "ended", "it was no crash, as it said itself"


def test_a_hive_that_was_restarted_does_not_know_its_workers_at_first() -> None:
    registry = a_registry()
    registry.beat(hive("h", workers=[process("w")]), 0.0)
    registry.beat(worker("w", hive_id="h"), 0.1)
    leased = registry.view(0.1).workers[0]
    registry.beat(hive("h", "2", workers=[]), 1.0)
    assert asked(registry, 1.0) == ["w"] and registry.lost(leased, 1.0) is None
    registry.beat(hive("h", "2", seq=2, workers=[process("w")]), 2.0)
    registry.beat(hive("h", "2", seq=3, workers=[]), 3.0)
    assert asked(registry, 3.0) == [] and registry.lost(leased, 3.0) is not None


def test_one_that_is_only_late_may_come_back_for_a_while() -> None:
    registry = a_registry()
    registry.beat(worker("late"), 0.0)
    registry.beat(worker("dead"), 0.0)
    registry.beat(worker("leaving", state="draining"), 0.0)
    registry.beat(worker("wedged", step_age_s=3.0, step_limit_s=2.0), 0.0)
    registry.suspect("dead", "1")

    def silent(now: float) -> list[str]:
        return [w.id for w in registry.view(now).silent]

    assert silent(SILENCE_S - 0.1) == []
    assert silent(SILENCE_S) == ["late"]
    assert silent(SILENCE_S + RETURN_S - 0.1) == ["late"]
    assert silent(SILENCE_S + RETURN_S) == []
    registry.beat(worker("late", seq=2), SILENCE_S + RETURN_S)
    assert asked(registry, SILENCE_S + RETURN_S) == ["late"]


def test_who_has_a_job() -> None:
    registry = a_registry()
    registry.beat(worker("a", jobs=["j1", "j2"]), 0.0)
    registry.beat(worker("b", jobs=["j2"], state="draining"), 0.1)

    def holder(job: str, now: float = 0.2) -> str:
        return next((found.id for found in registry.holders(job, now)), "")

    assert (holder("j1"), holder("j2"), holder("j3")) == ("a", "b", "")
    assert [w.id for w in registry.holders("j2", 0.2)] == ["b", "a"]
    assert {job: w.id for job, w in registry.jobs(0.2).items()} == {"j1": "a", "j2": "b"}
    registry.beat(worker("b", seq=2, jobs=[], state="draining"), 0.3)
    registry.beat(worker("a", seq=1, jobs=[]), 0.3)
    assert holder("j2") == "a", "an old beat takes nothing away"
    registry.beat(worker("a", "2", jobs=["j9"]), 0.4)
    registry.beat(worker("a", "1", seq=9, jobs=["j1"], state="stopped"), 0.5)
    assert (holder("j1"), holder("j9")) == ("", "a"), "the life before has none any more"
    assert holder("j9", 0.4 + SILENCE_S) == ""
    registry.expire(FORGET_S + SILENCE_S + 1.0)
    assert registry.jobs(0.0) == {} and len(registry._jobs) == 0


def test_what_the_queen_slept_through_is_nobodys_silence() -> None:
    registry = Registry(0.0, beat_s=BEAT_S, beats_missed=MISSED, awake_s=1.0)
    for tick in range(4):
        registry.view(tick / 2)
    registry.beat(worker("w"), 1.6)
    leased = registry.view(1.6).workers[0]
    later = 1.6 + 100.0
    assert asked(registry, later) == ["w"] and registry.lost(leased, later) is None
    for _ in range(int(SILENCE_S * 2)):
        later += 0.5
        registry.view(later)
    assert asked(registry, later) == [] and registry.lost(leased, later) is not None


def test_whoever_asks_first_after_that_sleep_is_told_so() -> None:
    """The first to be asked may be who lost a worker, or who looks for a job."""
    for asked_first in ("lost", "holders", "jobs"):
        registry = Registry(0.0, beat_s=BEAT_S, beats_missed=MISSED, awake_s=1.0)
        registry.beat(worker("w", jobs=["j"]), 0.0)
        leased = registry.view(0.5).workers[0]
        match asked_first:
            case "lost":
                assert registry.lost(leased, 100.0) is None
            case "holders":
                assert registry.holders("j", 100.0)
            case _:
                assert registry.jobs(100.0).keys() == {"j"}


def test_a_sleep_does_not_change_who_was_heard_after_whom() -> None:
    """The hive has said nothing since the worker came, so it has not said that it is not there."""
    registry = Registry(0.0, beat_s=BEAT_S, beats_missed=MISSED, awake_s=1.0)
    registry.beat(hive("h"), 0.0)
    registry.beat(worker("w", hive_id="h"), 0.5)
    leased = registry.view(0.5).workers[0]
    assert asked(registry, 100.0) == ["w"] and registry.lost(leased, 100.0) is None
    registry.beat(hive("h", seq=2), 100.5)
    assert asked(registry, 100.5) == []


def test_a_job_that_one_keeps_and_another_writes_is_being_written() -> None:
    registry = a_registry()
    registry.beat(worker("a", jobs=["j"]), 0.0)
    registry.beat(worker("b", kept=["j"]), 0.1)
    assert {job: w.id for job, w in registry.jobs(0.2).items()} == {"j": "a"}


def test_which_hives_are_on_the_queens_machine() -> None:
    registry = Registry(0.0, hostname="desk")
    registry.beat(hive("loop", url="http://127.0.0.1:7835"), 0.0)
    registry.beat(hive("named", hostname="desk"), 0.0)
    registry.beat(hive("far"), 0.0)
    assert registry.view(0.0).local == {"loop", "named"}


def test_the_picture_is_drawn_anew_only_for_what_matters() -> None:
    registry = a_registry()
    registry.beat(worker("w"), 0.0)
    first = registry.view(0.0)
    registry.beat(worker("w", seq=2, step=9), 1.0)
    assert registry.view(1.0) is first
    registry.beat(worker("w", seq=3, busy=1), 1.1)
    assert registry.view(1.1) is not first


def test_a_large_fleet_reports_less_often() -> None:
    registry = a_registry()
    acks = [registry.beat(worker(f"w{n}"), 0.0) for n in range(2_000)]
    assert acks[0].next_s == BEAT_S
    assert acks[-1].next_s == 1_999 / registry_module.BEATS_PER_S


def test_settling_ends() -> None:
    registry = a_registry(settle_s=5.0)
    assert not registry.view(4.9).settled
    assert registry.view(5.0).settled
