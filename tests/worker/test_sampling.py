"""The laws of picking a token, whatever the row and the parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.contracts.operations import Infer
from rbee.worker.engine.backend import Row
from rbee.worker.engine.sampling import Sampler, Sampling, uniform
from tests.worker.echo import EchoVocabulary

FINITE = st.one_of(st.floats(-30, 30, width=32), st.integers(-3, 3).map(float))
ODD = st.sampled_from([-math.inf, math.nan, math.inf, 3e38, -3e38, 0.0, -0.0])
ROWS = st.lists(FINITE, min_size=2, max_size=40)
ODD_ROWS = st.lists(st.one_of(FINITE, ODD), min_size=2, max_size=40)
SEEDS = st.integers(-(2**63), 2**63 - 1)
SHARE = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0]))
IDS = st.lists(st.integers(0, 1), max_size=60)
NEUTRAL = Sampling()

PARAMS = st.builds(
    Sampling,
    temperature=st.one_of(st.floats(0, 5), st.sampled_from([0.0, 5e-324, 1e-6, 1.0, 5.0])),
    top_k=st.integers(0, 45),
    top_p=SHARE,
    min_p=SHARE,
    typical_p=SHARE,
    repeat_penalty=st.floats(0.001, 10),
    repeat_last_n=st.integers(-1, 70),
    presence_penalty=st.floats(-2, 2),
    frequency_penalty=st.floats(-2, 2),
    dry_multiplier=st.sampled_from([0.0, 0.8, 100.0]),
    dry_base=st.floats(1, 100),
    dry_allowed_length=st.integers(1, 5),
    dry_penalty_last_n=st.integers(-1, 70),
    xtc_probability=SHARE,
    xtc_threshold=SHARE,
    seed=SEEDS,
    bias=st.dictionaries(st.integers(0, 1), st.floats(-100, 100)),
)


def row_of(values: Sequence[float]) -> Row:
    return np.array(values, np.float32)


def pick(
    values: Sequence[float],
    params: Sampling,
    answer: Sequence[int] = (),
    prompt: Sequence[int] = (),
    choice: int = 0,
) -> int:
    return Sampler(params, choice, prompt, EchoVocabulary()).pick(row_of(values), answer)


def picks(values: Sequence[float], params: Sampling, count: int = 200) -> set[int]:
    return {pick(values, params, choice=choice) for choice in range(count)}


def test_every_parameter_has_the_name_of_the_contract() -> None:
    own = set(Sampling.__dataclass_fields__) - {"bias"}
    assert own < set(Infer.__struct_fields__)
    assert {"dry_sequence_breakers", "typical_p", "xtc_threshold", "repeat_last_n"} < own


@given(ODD_ROWS, PARAMS, IDS, IDS)
def test_a_token_is_always_one_that_is_possible(
    values: list[float], params: Sampling, prompt: list[int], answer: list[int]
) -> None:
    token = pick(values, params, answer, prompt)
    allowed = {i for i, v in enumerate(values) if not math.isnan(v) and v != -math.inf}
    assert token in (allowed or range(len(values)))


@given(ROWS, PARAMS, IDS, IDS, st.data())
def test_what_a_grammar_forbids_never_comes(
    values: list[float], params: Sampling, prompt: list[int], answer: list[int], data: st.DataObject
) -> None:
    allowed = data.draw(st.sets(st.integers(0, len(values) - 1), min_size=1))
    masked = [v if i in allowed else -math.inf for i, v in enumerate(values)]
    assert pick(masked, params, answer, prompt) in allowed


@given(ROWS, PARAMS, IDS, IDS)
def test_the_same_seed_gives_the_same_token_whatever_was_picked_before(
    values: list[float], params: Sampling, prompt: list[int], answer: list[int]
) -> None:
    wanted = pick(values, params, answer, prompt)
    used = Sampler(params, 0, prompt, EchoVocabulary())
    for other in (answer[:3], [*answer, 1, 0], answer[:-2], [1] * 80, [0, 1, *answer], ()):
        used.pick(row_of(values), other)
        assert used.pick(row_of(values), tuple(answer)) == wanted


@given(ROWS, st.integers(1, 80))
def test_growing_answers_are_penalised_like_given_ones(values: list[float], count: int) -> None:
    params = Sampling(1.0, 5, repeat_penalty=1.3, frequency_penalty=0.5, dry_multiplier=0.8, seed=4)
    sampler, answer = Sampler(params, 0, [0, 1], EchoVocabulary()), list[int]()
    for _ in range(count):
        token = sampler.pick(row_of(values), answer)
        assert token == pick(values, params, answer, [0, 1])
        answer.append(token)


@given(ROWS)
def test_temperature_zero_takes_the_best_and_of_equals_the_first(values: list[float]) -> None:
    best = values.index(max(values))
    for params in (
        NEUTRAL,
        Sampling(top_k=7, top_p=0.5, min_p=0.1),
        Sampling(5.0, top_k=1, typical_p=0.1, xtc_probability=1.0),
        Sampling(5e-324),
        Sampling(0.0, xtc_probability=1.0, xtc_threshold=0.51),
    ):
        assert Sampler(params, 0, [], EchoVocabulary()).greedy
        assert pick(values, params) == best


@pytest.mark.parametrize(
    "params",
    [
        Sampling(1.0),
        Sampling(bias={0: 1.0}),
        Sampling(repeat_penalty=1.1),
        Sampling(presence_penalty=0.1),
        Sampling(frequency_penalty=-0.1),
        Sampling(dry_multiplier=0.8),
        Sampling(typical_p=0.5),
        Sampling(xtc_probability=0.1),
    ],
)
def test_what_is_not_greedy(params: Sampling) -> None:
    assert not Sampler(params, 0, [], EchoVocabulary()).greedy


def test_a_penalty_without_a_window_is_none() -> None:
    for params in (
        Sampling(repeat_penalty=9.0, repeat_last_n=0),
        Sampling(dry_multiplier=9.0, dry_penalty_last_n=0),
    ):
        assert Sampler(params, 0, [], EchoVocabulary()).greedy


LOGS = np.log([0.3, 0.15, 0.5, 0.05]).tolist()


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        (Sampling(1.0), {0, 1, 2, 3}),
        (Sampling(1.0, top_k=3), {0, 1, 2}),
        (Sampling(1.0, top_p=0.4), {2}),
        (Sampling(1.0, top_p=0.6), {2, 0}),
        (Sampling(1.0, top_p=0.9), {2, 0, 1}),
        (Sampling(1.0, top_p=0.0), {2}),
        (Sampling(1.0, min_p=0.5), {2, 0}),
        (Sampling(1.0, min_p=1.0), {2}),
        (Sampling(1.0, top_p=0.9, min_p=0.5), {2, 0}),
        (Sampling(1.0, top_p=0.6, min_p=0.01), {2, 0}),
        (Sampling(5.0, top_p=0.6), {2, 0}),  # temperature comes last, and widens no set
        (Sampling(1.0, top_k=2, top_p=0.7), {2, 0}),  # 0.5 of 0.8 is not enough
        (Sampling(1.0, typical_p=0.2), {0}),  # its surprise is nearest to the entropy
        (Sampling(1.0, xtc_probability=1.0, xtc_threshold=0.1), {1, 3}),
        (Sampling(1.0, xtc_probability=1.0, xtc_threshold=0.0), {3}),
        (Sampling(1.0, xtc_probability=1.0, xtc_threshold=0.4), {0, 1, 2, 3}),
        (Sampling(1.0, xtc_probability=0.0, xtc_threshold=0.1), {0, 1, 2, 3}),
        (Sampling(0.0, xtc_probability=1.0, xtc_threshold=0.1), {1}),
        (Sampling(1.0, top_k=1, xtc_probability=1.0, xtc_threshold=0.0), {2}),
    ],
)
def test_a_set_is_exactly_what_its_parameter_says(params: Sampling, kept: set[int]) -> None:
    assert picks(LOGS, params) == kept


@given(st.permutations(range(12)), st.integers(1, 6))
def test_of_equals_the_first_stay(order: list[int], count: int) -> None:
    """Which ids are equal is permuted; those of the lowest ids are in the set, and no others."""
    values = [float(place // 4) for place in order]
    ranked = sorted(range(12), key=lambda i: (-values[i], i))
    kept = set(ranked[:count])
    assert picks(values, Sampling(5.0, top_k=count), 120) <= kept
    weights = np.exp(values) / np.exp(values).sum()
    share = float(sum(weights[i] for i in kept)) * (1 - 1e-4)
    assert picks(values, Sampling(5.0, top_p=share), 120) <= kept


@given(ROWS, st.floats(0.05, 5), SEEDS)
def test_draws_follow_the_probabilities(values: list[float], temperature: float, seed: int) -> None:
    count = 500
    params = Sampling(temperature, seed=seed)
    drawn = [pick(values, params, choice=i) for i in range(count)]
    scaled = np.exp((np.array(values) - max(values)) / temperature)
    wanted = scaled / scaled.sum()
    shares = np.bincount(drawn, minlength=len(values)) / count
    assert np.abs(shares - wanted).max() <= 6 * math.sqrt(0.25 / count)


def test_a_large_vocabulary_is_drawn_from_by_its_probabilities() -> None:
    """Whole blocks of it are impossible, or next to it."""
    row = np.full(60_000, -50.0, np.float32)
    row[10_000:40_000] = -np.inf
    row[[5, 9_999, 50_000, 59_999]] = np.log([0.1, 0.2, 0.3, 0.4])
    sampler = Sampler(Sampling(1.0, seed=3), 0, [], EchoVocabulary())
    drawn = [sampler.pick(row.copy(), [0] * i) for i in range(2_000)]
    shares = {token: drawn.count(token) / len(drawn) for token in set(drawn)}
    assert shares == pytest.approx({5: 0.1, 9_999: 0.2, 50_000: 0.3, 59_999: 0.4}, abs=0.05)


def test_xtc_tosses_its_own_coin() -> None:
    """It leaves the best out as often as it says, and what is drawn then does not depend on it."""
    params = Sampling(1.0, xtc_probability=0.3, xtc_threshold=0.1, seed=1)
    row = [10.0, 10.0, 9.0]  # each of the first two has over a third
    drawn = [pick(row, params, choice=i) for i in range(3_000)]
    assert drawn.count(0) / 3_000 == pytest.approx(0.7 * 0.4223, abs=0.03)
    coins = [uniform(1, i, 0, b"xtc") for i in range(3_000)]
    numbers = [uniform(1, i, 0) for i in range(3_000)]
    assert abs(float(np.corrcoef(coins, numbers)[0, 1])) < 0.06


@pytest.mark.parametrize("bad", [-math.inf, math.nan])
def test_a_row_without_any_possible_token_still_gives_one(bad: float) -> None:
    for params in (NEUTRAL, Sampling(0.8, 40, 0.95, 0.05), Sampling(1.0, 3), Sampling(1.0)):
        assert 0 <= pick([bad] * 8, params) < 8


def test_bias_decides_at_temperature_zero_and_bans() -> None:
    assert pick([1, 2, 3], Sampling(bias={0: 100.0})) == 0
    assert picks([1, 2, 30], Sampling(1.0, bias={2: -100.0})) == {0, 1}
    assert pick([-math.inf, -math.inf, 30], Sampling(bias={2: -100.0, 0: 100.0})) == 2


def test_repeat_penalty_sees_the_prompt_and_the_others_do_not() -> None:
    values = [3.0, 2.9, 1.0]
    assert pick(values, Sampling(repeat_penalty=2.0), [], [0]) == 1
    assert pick(values, Sampling(presence_penalty=2.0), [], [0]) == 0
    assert pick(values, Sampling(presence_penalty=2.0), [0], []) == 1
    assert pick(values, Sampling(frequency_penalty=0.06), [0], [0]) == 0
    assert pick(values, Sampling(frequency_penalty=0.06), [0, 0], [0]) == 1


@pytest.mark.parametrize(("window", "token"), [(1, 0), (2, 0), (3, 1), (64, 1), (-1, 1)])
def test_repeat_penalty_looks_as_far_back_as_it_says(window: int, token: int) -> None:
    params = Sampling(repeat_penalty=2.0, repeat_last_n=window)
    assert pick([3.0, 2.9, 1.0], params, [2], [0, 2]) == token


@given(SEEDS, st.integers(0, 127), st.integers(0, 2**20))
def test_uniform_is_in_its_interval_and_always_the_same(seed: int, choice: int, index: int) -> None:
    drawn = uniform(seed, choice, index)
    assert 0.0 <= drawn < 1.0
    assert drawn == uniform(seed, choice, index)


def test_uniform_differs_by_seed_choice_and_index_and_fills_its_interval() -> None:
    drawn = [uniform(s, c, i) for s in range(-5, 5) for c in range(10) for i in range(20)]
    assert len(set(drawn)) == len(drawn) == 2_000
    assert abs(sum(drawn) / len(drawn) - 0.5) < 0.02
    assert np.histogram(drawn, 10, (0, 1))[0].min() > 150


def test_a_seed_is_another_answer() -> None:
    found = {pick(list(range(20)), Sampling(5.0, seed=seed)) for seed in range(100)}
    assert len(found) > 5
    assert replace(NEUTRAL, seed=3) != NEUTRAL
