"""Quarantine, retry budget and circuit breaker: pure, so their laws are tested as such."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.contracts.operations import Infer
from rbee.errors import Overloaded, Poisonous, WorkerGone
from rbee.queen.attempts import MAX_LOST, Attempts
from rbee.queen.breaker import FORGET_S, MAX_S, Breakers
from rbee.queen.budget import ALWAYS, MAX_PAUSE_S, SHARE, WINDOW_S, Budget, pause_s
from rbee.queen.lease import Lease
from rbee.queen.quarantine import KEEP_S, Quarantine, fingerprint
from tests.queen.fleets import worker

ASKED = Infer(model="bee", prompt="x", temperature=0.5)
SEAT = ("w", "1")


def test_a_fingerprint_is_of_what_is_asked_and_not_of_how() -> None:
    how = {
        "stream": False,
        "priority": 5,
        "deadline_ms": 10,
        "hive_id": "h",
        "worker_id": "w",
        "device": "cpu",
        "seed": 7,
    }
    assert fingerprint(msgspec.structs.replace(ASKED, **how)) == fingerprint(ASKED)
    for what in ({"prompt": "y"}, {"temperature": 0.6}, {"model": "org/repo"}, {"n": 2}):
        assert fingerprint(msgspec.structs.replace(ASKED, **what)) != fingerprint(ASKED)


def test_a_convict_is_refused_until_it_is_forgotten() -> None:
    quarantine = Quarantine()
    assert quarantine.empty(0.0)
    quarantine.convict("a", 0.0)
    quarantine.check("b", 1.0)
    with pytest.raises(Poisonous) as caught:
        quarantine.check("a", KEEP_S - 5.0)
    assert "not tried again for 5 s" in caught.value.message and caught.value.hint
    quarantine.check("a", KEEP_S)
    assert quarantine.empty(KEEP_S)


def test_the_quarantine_is_bounded() -> None:
    quarantine = Quarantine(keep=3)
    for number in range(5):
        quarantine.convict(str(number), float(number))
    for number in (0, 1):
        quarantine.check(str(number), 5.0)
    for number in (2, 3, 4):
        with pytest.raises(Poisonous):
            quarantine.check(str(number), 5.0)


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=300))
def test_retries_are_a_share_of_the_requests_and_a_few(steps: list[tuple[float, bool]]) -> None:
    budget, now = Budget(), 0.0
    asked: list[float] = []
    retried: list[float] = []
    for pause, is_request in steps:
        now += pause
        if is_request:
            budget.asked(now)
            asked.append(now)
        elif budget.may_retry(now):
            retried.append(now)
        else:
            recent = sum(1 for t in retried if t > now - WINDOW_S)
            sure = sum(1 for t in asked if t > now - WINDOW_S + 1)
            assert recent >= SHARE * sure + ALWAYS - 1e-9, "refused though there was room"
        recent = sum(1 for t in retried if t > now - WINDOW_S + 1)
        possible = sum(1 for t in asked if t > now - 2 * WINDOW_S)
        assert recent <= SHARE * possible + ALWAYS + 1


def test_a_pause_is_none_at_first_then_longer_and_bounded() -> None:
    assert pause_s(0, 0.9) == 0.0
    assert [round(pause_s(n, 0.5), 3) for n in (1, 2, 3)] == [0.1, 0.2, 0.4]
    assert pause_s(1_000_000, 1.0) == MAX_PAUSE_S
    assert pause_s(3, 0.0) == 0.0


def test_a_breaker_opens_for_longer_each_time_and_closes_on_success() -> None:
    breakers, now = Breakers(), 0.0
    breakers.failed(SEAT, now)
    breakers.failed(SEAT, now + 0.25)
    open_for = []
    for number in range(10, 20):
        began = now
        while SEAT in breakers.barred(now):
            now += 0.25
        open_for.append(now - began)
        breakers.leased(SEAT, number)
        assert SEAT in breakers.barred(now), "one may try, and no second one beside it"
        breakers.succeeded(SEAT, 4)
        assert SEAT in breakers.barred(now), "how a lease from before goes on says nothing"
        breakers.failed(SEAT, now)
        breakers.left(SEAT, number)
    assert open_for == [min(MAX_S, 0.5 * 2**n) for n in range(10)]
    now += MAX_S
    breakers.leased(SEAT, 30)
    breakers.left(SEAT, 30)
    assert SEAT not in breakers.barred(now)
    breakers.leased(SEAT, 31)
    breakers.succeeded(SEAT, 31)
    breakers.failed(SEAT, now)
    assert SEAT in breakers.barred(now + 0.4) and SEAT not in breakers.barred(now + 0.5)


def test_breakers_of_past_lives_are_forgotten() -> None:
    breakers = Breakers()
    for life in range(100):
        breakers.failed(("w", str(life)), float(life))
    breakers.leased(("w", "7"), 1)
    breakers.failed(SEAT, 100.0 + FORGET_S)
    assert breakers.barred(100.0 + FORGET_S) == {SEAT, ("w", "7")}
    assert repr(breakers) == "<Breakers 2 not closed>"


@pytest.mark.anyio
async def test_what_was_begun_goes_on_and_the_rest_has_a_budget() -> None:
    quarantine, budget = Quarantine(), Budget(share=0.0)
    begun = Attempts(ASKED, quarantine, budget, 0.0)
    lease = Lease(worker(), 0, 0.0, lost="it broke")
    assert begun.lost(lease, "innocent", True, 0.0, 0.5) == 0.0
    for _ in range(MAX_LOST - 2):
        assert begun.lost(lease, "innocent", True, 0.0, 0.5) > 0.0
    with pytest.raises(WorkerGone, match="8th"):
        begun.lost(lease, "innocent", True, 0.0, 0.5)
    for _ in range(ALWAYS):
        fresh = Attempts(ASKED, quarantine, budget, 0.0)
        assert not fresh.again
        fresh.lost(lease, "innocent", False, 0.0, 0.5)
        assert fresh.again and not fresh.suspect
    with pytest.raises(WorkerGone, match="asked again already"):
        Attempts(ASKED, quarantine, budget, 0.0).lost(lease, "innocent", False, 0.0, 0.5)
    with pytest.raises(Overloaded):
        Attempts(ASKED, quarantine, budget, 0.0).declined(lease, False, 0.0, 0.5)
    assert Attempts(ASKED, quarantine, budget, 0.0).declined(lease, True, 0.0, 0.5) > 0.0


@pytest.mark.anyio
async def test_a_suspect_is_cleared_by_a_token_or_convicted() -> None:
    quarantine, budget = Quarantine(), Budget()
    asker = Attempts(ASKED, quarantine, budget, 0.0)
    asker.lost(Lease(worker(), 0, 0.0), "suspect", True, 0.0, 0.0)
    assert asker.suspect
    again = Attempts(ASKED, quarantine, budget, 0.0)
    again.check(0.0)
    assert again.suspect, "sent anew, it is what it was"
    worked = Lease(worker(), 1, 0.0)
    worked.progressed()
    asker.lost(worked, "innocent", True, 0.0, 0.0)
    assert not asker.suspect and quarantine.empty(0.0)
    with pytest.raises(Poisonous):
        asker.lost(Lease(worker(), 2, 0.0), "poison", True, 0.0, 0.0)
    with pytest.raises(Poisonous):
        Attempts(ASKED, quarantine, budget, 1.0).check(1.0)
    Attempts(msgspec.structs.replace(ASKED, prompt="y"), quarantine, budget, 1.0).check(1.0)
