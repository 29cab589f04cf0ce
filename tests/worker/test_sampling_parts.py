"""The parts of sampling that are fast because they look at little: each against the slow way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.worker.engine.backend import Row
from rbee.worker.engine.sampling import LEAST_LOGPROB, Sampling, logprobs_of
from rbee.worker.engine.sampling.breakers import Breakers
from rbee.worker.engine.sampling.candidates import best, largest
from rbee.worker.engine.sampling.chain import min_p, top_p, total_of, typical
from rbee.worker.engine.sampling.dry import Dry, runs_of
from rbee.worker.engine.sampling.history import History
from rbee.worker.engine.sampling.running import Running
from tests.worker.echo import END, EchoVocabulary

SIZES = [1, 2, 3, 100, 4_095, 4_096, 4_097, 5_000, 40_001]
COARSE = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=60)


def rows(size: int) -> list[Row]:
    """Smooth, full of ties, all the same, and mostly impossible."""
    chance = np.random.default_rng(size)
    smooth = (chance.standard_normal(size) * 3).astype(np.float32)
    masked = np.where(chance.random(size) < 0.999, np.float32(-np.inf), smooth)
    masked[size // 2] = 0.5
    return [smooth, np.round(smooth), np.zeros(size, np.float32), masked]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 2, 40, 256, 257, 2_000, 50_000])
def test_best_is_the_head_of_a_stable_sort(size: int, count: int) -> None:
    for row in rows(size):
        order = np.argsort(-row, kind="stable")
        wanted = order[row[order] > -np.inf][:count]
        assert best(row, count).tolist() == sorted(wanted.tolist())


@given(COARSE, st.integers(1, 70))
def test_largest_is_the_head_of_a_stable_sort(values: list[float], count: int) -> None:
    row = np.array(values, np.float32)
    wanted = np.argsort(-row, kind="stable")[:count]
    assert largest(row, count).tolist() == sorted(wanted.tolist())


@pytest.mark.parametrize("size", [1, 40, 2_048, 2_049, 30_000])
def test_running_sums_are_where_a_full_one_says(size: int) -> None:
    weights = np.random.default_rng(size).integers(0, 3, size).astype(np.float32)
    weights[size // 2] = 1.0
    heap, running = np.cumsum(weights), Running(weights)
    assert running.total == heap[-1]
    last = int(np.flatnonzero(weights)[-1])
    for goal in np.linspace(0.5, heap[-1] + 1, 200).tolist():
        assert running.reach(goal, "left") == min(int(heap.searchsorted(goal, "left")), last)
        assert running.reach(goal, "right") == min(int(heap.searchsorted(goal, "right")), last)


@pytest.mark.parametrize("size", [40, 4_096, 4_097, 70_000])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.9999])
@pytest.mark.parametrize("spread", [0.0, 0.1, 3.0, 8.0])
def test_top_p_is_the_head_of_a_full_sort(size: int, share: float, spread: float) -> None:
    """From a few tokens to all of them, through every width that is tried on the way."""
    row = (np.random.default_rng(size).standard_normal(size) * spread).astype(np.float32)
    order = np.argsort(-row, kind="stable")
    weights = np.exp(row[order] - row.max(), dtype=np.float64)
    heap = np.cumsum(weights)
    count = len(top_p(row, share))
    assert set(top_p(row, share)) == set(order[:count])
    assert heap[count - 1] >= share * heap[-1] * (1 - 1e-5)
    assert count == 1 or heap[count - 2] <= share * heap[-1] * (1 + 1e-5)


@pytest.mark.parametrize("spread", [0.1, 3.0, 8.0])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_min_p_may_go_before_top_p(spread: float, share: float) -> None:
    """That is how it is done, for speed; llama.cpp's order is top-p first."""
    row = (np.random.default_rng(5).standard_normal(20_000) * spread).astype(np.float32)
    first = top_p(row, share)
    slow = first[min_p(row[first], 0.02)]
    some = min_p(row, 0.02)
    fast = some[top_p(row[some], share, total_of(row, float(row.max())))]
    assert fast.tolist() == slow.tolist()


@pytest.mark.parametrize("size", [40, 4_097, 70_000])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
@pytest.mark.parametrize("spread", [0.1, 3.0, 8.0])
def test_typical_is_the_head_of_a_full_sort(size: int, share: float, spread: float) -> None:
    row = (np.random.default_rng(size).standard_normal(size) * spread).astype(np.float32)
    chances = np.exp(row - row.max(), dtype=np.float64)
    chances /= chances.sum()
    entropy = -(chances * np.log(chances)).sum()
    order = np.argsort(np.abs(-np.log(chances) - entropy), kind="stable")
    found = typical(row, share)
    heap = np.cumsum(chances[order])
    wanted = int(heap.searchsorted(share, "right")) + 1
    odd = set(found.tolist()) ^ set(order[:wanted].tolist())
    assert sum(chances[i] for i in odd) < 1e-4  # equals of float32 at the edge


@given(st.lists(st.lists(st.integers(0, 3), max_size=9), min_size=1, max_size=12))
def test_a_history_follows_whatever_it_is_told(answers: list[list[int]]) -> None:
    prompt, known = [7, 8, 9], list[int]()
    all_of_it, tail = History(prompt, -1), History(prompt, 2)
    for answer in answers:
        change = all_of_it.follow(answer)
        tail.follow(tuple(answer))
        assert all_of_it.ids.tolist() == prompt + answer
        assert tail.ids.tolist() == [8, 9, *answer]
        kept = known[: len(known) - len(change.gone)]
        assert kept + change.gone == known
        assert kept + change.new == answer
        known = answer


def test_what_stands_for_a_picture_is_no_token() -> None:
    prompt = [1, -(2**63), -5, 2, 3, -1]
    assert History(prompt, -1).ids.tolist() == [1, 2, 3]
    assert History(prompt, 2).ids.tolist() == [2, 3]
    assert History(prompt, 0).ids.tolist() == []


def test_a_history_has_room_for_a_long_answer() -> None:
    history = History([1] * 10, 4)
    for size in range(2_000):
        history.follow([size % 5] * size)
        assert len(history.ids) == 4 + size
    assert history.ids[-3:].tolist() == [4, 4, 4]


@given(st.lists(st.integers(0, 2), max_size=40))
def test_runs_are_counted_right(tokens: list[int]) -> None:
    def slow(place: int) -> int:
        pairs = zip(tokens, tokens[place:], strict=False)
        return next((n for n, (a, b) in enumerate(pairs) if a != b), len(tokens) - place)

    assert runs_of(tokens) == [0, *(slow(i) for i in range(1, len(tokens)))][: len(tokens)]


TEXTS = st.text("ab\nU: ", max_size=40)


@given(TEXTS, TEXTS, TEXTS, st.integers(-1, 50), st.integers(1, 4))
def test_dry_is_the_same_however_the_text_came(
    prompt: str, answer: str, before: str, last: int, allowed: int
) -> None:
    """At once, token by token, or after another answer was there."""
    params = Sampling(
        dry_multiplier=1.0,
        dry_penalty_last_n=last,
        dry_allowed_length=allowed,
        dry_sequence_breakers=["\n", "U: "],
    )
    start, ids, other = (list(text.encode()) for text in (prompt, answer, before))
    wanted = dried(params, start, [ids])
    assert np.array_equal(dried(params, start, [ids[:i] for i in range(len(ids) + 1)]), wanted)
    assert np.array_equal(dried(params, start, [other, ids[:3], other, ids]), wanted)


def dried(params: Sampling, prompt: list[int], answers: list[list[int]]) -> Row:
    history, dry = History(prompt, -1), Dry(params, EchoVocabulary())
    for answer in answers:
        change = history.follow(answer)
        dry.follow(history.ids, change)
    row = np.zeros(256, np.float32)
    dry.apply(row, history.ids)
    return row


@pytest.mark.parametrize(("text", "lost"), [("abcabcab", 1.75**3), ("abcab", 1.0), ("abcb", 0.0)])
def test_dry_takes_off_by_the_length(text: str, lost: float) -> None:
    row = dried(Sampling(dry_multiplier=1.0), list(text.encode()), [[]])
    assert row[ord("c")] == pytest.approx(-lost)
    assert np.count_nonzero(row) == (lost > 0)


def test_a_breaker_ends_a_repetition_and_is_not_punished_itself() -> None:
    def text(between: str) -> Row:
        return dried(Sampling(dry_multiplier=1.0), list(f"abcd{between}abc".encode()), [[]])

    assert text("xx")[ord("d")] < 0
    assert text("\n")[ord("d")] < 0  # it lies before the repetition
    long = "abc:\nabc:\nabc"
    assert not dried(Sampling(dry_multiplier=1.0), list(long.encode()), [[]])[[10, 58]].any()
    words = dried(Sampling(dry_multiplier=1.0), list(b'ab"cd ab"c'), [[]])
    assert not words.any()  # only the `c` behind the mark counts, which is too short


@pytest.mark.parametrize("text", [b"a" * 3_000, b"ab" * 1_500, b"abcabd" * 500])
def test_dry_on_endless_repetition(text: bytes) -> None:
    """The penalty stays finite, and what could go on is never made impossible."""
    for base in (1.0, 1.000002, 1.75, 100.0):
        row = dried(Sampling(dry_multiplier=100.0, dry_base=base), list(text), [[], [97], [97, 98]])
        assert np.isfinite(row).all()


@pytest.mark.parametrize(
    ("text", "since"),
    [
        (b"", 0),
        (b"abc", 3),
        (b"ab\n", 0),
        (b"a\nbc", 2),
        (b"aUser:", 0),
        (b"aUser:bc", 2),
        (b"aUser", 5),
        (b"ser:", 4),
    ],
)
def test_breakers_are_found_across_tokens(text: bytes, since: int) -> None:
    breakers = Breakers(["User:", "\n"], EchoVocabulary())
    assert breakers.since(list(text)) == since
    placed = [breakers.ends_at(list(text), place) for place in range(len(text))]
    assert placed[::-1].index(True) == since if any(placed) else since == len(text)


def test_a_control_token_cuts_a_breaker() -> None:
    assert Breakers(["ab"], EchoVocabulary()).since([*b"a", END, *b"b"]) == 3
    assert Breakers(["", "ab"], EchoVocabulary()).since([*b"xab"]) == 0
    assert Breakers([], EchoVocabulary()).since([*b"xab\n"]) == 4


LOGITS = st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=40)


@given(LOGITS, st.integers(0, 20))
def test_logprobs_are_those_of_the_whole_vocabulary(values: list[float], top: int) -> None:
    row, vocabulary = np.array(values, np.float32), EchoVocabulary()
    found = [logprobs_of(row, token, top, vocabulary) for token in range(len(row))]
    known = [p.logprob for p in found if p.logprob is not None]
    assert math.isclose(sum(map(math.exp, known)), 1.0, rel_tol=1e-5)
    best_ones = [t.token_id for t in found[0].top]
    assert best_ones == sorted(range(len(row)), key=lambda i: (-row[i], i))[:top]
    assert all(t.logprob == known[t.token_id] for t in found[0].top)
    assert row.tolist() == np.array(values, np.float32).tolist()


def test_a_logprob_tells_text_and_bytes() -> None:
    found = logprobs_of(np.zeros(257, np.float32), 0xC3, 0, EchoVocabulary())
    assert (found.token_id, found.text, found.bytes, found.top) == (0xC3, "�", [0xC3], [])


def test_logprobs_of_rows_with_what_is_impossible() -> None:
    vocabulary = EchoVocabulary()
    masked = np.array([-np.inf, 1.0, -np.inf, 1.0], np.float32)
    found = logprobs_of(masked, 0, 4, vocabulary)
    assert found.logprob == LEAST_LOGPROB
    assert [t.token_id for t in found.top] == [1, 3]
    assert [t.logprob for t in found.top] == pytest.approx([-math.log(2)] * 2)
    nothing = logprobs_of(np.full(4, -np.inf, np.float32), 2, 4, vocabulary)
    assert (nothing.logprob, nothing.top) == (LEAST_LOGPROB, [])
    odd = np.array([np.nan, 1.0, np.inf, -np.inf], np.float32)
    assert logprobs_of(odd, 2, 1, vocabulary).top[0].token_id == 2
    assert logprobs_of(odd, 0, 0, vocabulary).logprob == LEAST_LOGPROB
    assert np.isnan(odd[0]) and odd[2] == np.inf
