"""Sampling against slow references, and the laws of each parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.worker.engine.backend import Row
from rbee.worker.engine.sampling import (
    REPEAT_WINDOW,
    Sampling,
    logprobs_of,
    penalise,
    pick,
    uniform,
)
from tests.worker.echo import EchoVocabulary

LOGITS = st.lists(
    st.one_of(st.floats(-30, 30, width=32), st.just(-math.inf)), min_size=2, max_size=40
).filter(lambda row: max(row) > -math.inf)
DRAW = st.floats(0, 1, exclude_max=True)
HOT = st.floats(0.01, 5)


def row_of(values: Sequence[float]) -> Row:
    return np.array(values, np.float32)


@given(LOGITS, DRAW)
def test_temperature_zero_takes_the_best(values: list[float], draw: float) -> None:
    row = row_of(values)
    assert pick(row, Sampling(), draw) == int(row.argmax())
    assert pick(row, Sampling(temperature=5, top_k=1), draw) == int(row.argmax())


@given(LOGITS, DRAW, HOT, st.integers(0, 45), st.floats(0, 1), st.floats(0, 1))
def test_a_token_is_within_every_set(
    values: list[float], draw: float, temperature: float, k: int, p: float, low: float
) -> None:
    params = Sampling(temperature, k, p, low)
    token = pick(row_of(values), params, draw)
    assert token in allowed(values, params)


def allowed(values: list[float], params: Sampling) -> set[int]:
    """Everything that ties at an edge counts as inside: which of equals stays is nobody's law."""
    ranked = sorted((v for v in values if v > -math.inf), reverse=True)
    ranked = ranked[: params.top_k] if params.top_k else ranked
    weights = [math.exp(v - ranked[0]) for v in ranked]
    goal, heap, kept = params.top_p * sum(weights), 0.0, len(ranked)
    for number, weight in enumerate(weights, 1):
        heap += weight
        if heap >= goal * (1 + 1e-5):
            kept = number
            break
    edge = ranked[kept - 1]
    slack = math.log(params.min_p * (1 - 1e-5)) if params.min_p else -math.inf
    edge = max(edge, min(ranked[0], ranked[0] + slack))
    return {i for i, v in enumerate(values) if v >= edge - 1e-4}


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
        (Sampling(5.0, top_p=0.6), {2, 0}),  # temperature comes last, and widens no set
        (Sampling(1.0, top_k=2, top_p=0.7), {2, 0}),  # 0.5 of 0.8 is not enough
    ],
)
def test_a_set_is_exactly_what_its_parameter_says(params: Sampling, kept: set[int]) -> None:
    row = row_of(np.log([0.3, 0.15, 0.5, 0.05]).tolist())
    assert {pick(row, params, i / 200) for i in range(200)} == kept


@given(LOGITS, HOT)
def test_draws_follow_the_probabilities(values: list[float], temperature: float) -> None:
    """Going through [0, 1) evenly, each token comes as often as its probability says."""
    row = row_of(values)
    count = 400
    draws = [pick(row, Sampling(temperature), (i + 0.5) / count) for i in range(count)]
    scaled = np.exp((row.astype(np.float64) - row.max()) / temperature)
    wanted = scaled / scaled.sum()
    shares = np.bincount(draws, minlength=len(row)) / count
    assert np.abs(shares - wanted).max() <= 1.5 / count


@pytest.mark.parametrize("temperature", [5e-324, 1e-310, 1e-9])
def test_a_temperature_next_to_zero_is_zero(temperature: float) -> None:
    assert pick(row_of([1.0, 3.0, -math.inf, 2.9]), Sampling(temperature), 0.999) == 1


@pytest.mark.parametrize("bad", [-math.inf, math.nan])
def test_a_row_without_any_possible_token_still_gives_one(bad: float) -> None:
    row = np.full(8, bad, np.float32)
    for params in (Sampling(), Sampling(0.8, 40, 0.95, 0.05), Sampling(1.0, 3)):
        assert 0 <= pick(row, params, 0.5) < 8


TOKENS = st.lists(st.integers(0, 19), max_size=150)


@given(
    st.lists(st.floats(-20, 20, width=32), min_size=20, max_size=20),
    st.lists(st.integers(0, 19), min_size=1, max_size=150),
    TOKENS,
    st.floats(0.1, 3),
    st.floats(-2, 2),
    st.floats(-2, 2),
    st.dictionaries(st.integers(0, 19), st.floats(-100, 100)),
)
def test_penalties_are_the_reference(
    values: list[float],
    prompt: list[int],
    answer: list[int],
    repeat: float,
    presence: float,
    frequency: float,
    bias: dict[int, float],
) -> None:
    params = Sampling(
        repeat_penalty=repeat, presence_penalty=presence, frequency_penalty=frequency, bias=bias
    )
    row = row_of(values)
    penalise(row, params, prompt + answer, answer)
    expected = slow_penalties(values, params, prompt + answer, answer)
    assert np.allclose(row, expected, rtol=1e-4, atol=1e-3)


def slow_penalties(
    values: list[float], params: Sampling, context: list[int], answer: list[int]
) -> list[float]:
    made = []
    for token, value in enumerate(values):
        value += params.bias.get(token, 0.0)
        if token in context[-REPEAT_WINDOW:]:
            value = value / params.repeat_penalty if value > 0 else value * params.repeat_penalty
        if token in answer:
            value -= params.presence_penalty + params.frequency_penalty * answer.count(token)
        made.append(value)
    return made


def test_neutral_parameters_change_nothing() -> None:
    row = row_of([1, 2, 3])
    penalise(row, Sampling(), [0, 1, 2], [2])
    assert row.tolist() == [1, 2, 3]


def test_bias_decides_at_temperature_zero() -> None:
    row = row_of([1, 2, 3])
    penalise(row, Sampling(bias={0: 100.0}), [], [])
    assert pick(row, Sampling(), 0.0) == 0


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 127), st.integers(0, 2**20))
def test_uniform_is_in_its_interval_and_always_the_same(seed: int, choice: int, index: int) -> None:
    drawn = uniform(seed, choice, index)
    assert 0.0 <= drawn < 1.0
    assert drawn == uniform(seed, choice, index)


def test_uniform_differs_by_seed_choice_and_index_and_fills_its_interval() -> None:
    drawn = [uniform(s, c, i) for s in range(-5, 5) for c in range(10) for i in range(20)]
    assert len(set(drawn)) == len(drawn) == 2_000
    assert abs(sum(drawn) / len(drawn) - 0.5) < 0.02
    assert np.histogram(drawn, 10, (0, 1))[0].min() > 150


@given(st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=40), st.integers(0, 20))
def test_logprobs_are_those_of_the_whole_vocabulary(values: list[float], top: int) -> None:
    row, vocabulary = row_of(values), EchoVocabulary()
    found = [logprobs_of(row, token, top, vocabulary) for token in range(len(row))]
    assert math.isclose(sum(math.exp(p.logprob) for p in found), 1.0, rel_tol=1e-5)
    best = [t.logprob for t in found[0].top]
    assert len(best) == min(top, len(row)) and best == sorted(best, reverse=True)
    assert best == pytest.approx(sorted((p.logprob for p in found), reverse=True)[:top])


def test_a_logprob_tells_text_and_bytes() -> None:
    found = logprobs_of(row_of([0.0] * 257), 0xC3, 0, EchoVocabulary())
    assert (found.token_id, found.text, found.bytes, found.top) == (0xC3, "�", [0xC3], [])
