"""The short way of the usual case finds what a plain sort finds, whatever rows came before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbee.worker.engine.sampling.few import Few, fits, pick
from rbee.worker.engine.sampling.params import Sampling


def sorted_plainly(row: np.ndarray, count: int) -> list[int]:
    order = np.argsort(-row, kind="stable")[:count]
    return [int(i) for i in order if row[i] > -np.inf]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([50, 5_000, 20_000]),
    count=st.integers(2, 60),
    scales=st.lists(st.sampled_from([0.0, 0.01, 1.0, 30.0]), min_size=1, max_size=12),
)
def test_the_best_are_found_however_the_rows_jump(
    seed: int, size: int, count: int, scales: list[float]
) -> None:
    draw = np.random.default_rng(seed)
    few = Few(count)
    for scale in scales:
        row = (draw.standard_normal(size) * scale + draw.integers(-50, 50)).astype(np.float32)
        if draw.integers(0, 3) == 0:
            row[draw.random(size) < 0.98] = -np.inf
        found = few.top(row)
        expected = sorted_plainly(row, count)
        if found is None:
            assert len(expected) < count
        else:
            assert [int(i) for i in found[0]] == expected
            assert found[1].tolist() == row[found[0]].tolist()


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_what_is_no_number_is_left_to_the_long_way(odd: float) -> None:
    few = Few(5)
    row = np.arange(5_000, dtype=np.float32)
    for _ in range(3):
        assert few.top(row) is not None
    row[17] = odd
    found = few.top(row)
    assert found is None or 17 not in found[0]


def test_top_p_and_min_p_leave_what_they_say() -> None:
    ids = np.arange(4)
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    for chance in np.linspace(0.0, 0.999, 50):
        assert pick(ids, logits, Sampling(1.0, top_k=4, top_p=0.75), float(chance)) in (0, 1)
        assert pick(ids, logits, Sampling(1.0, top_k=4, min_p=0.25), float(chance)) in (0, 1, 2)
        assert pick(ids, logits, Sampling(0.0, top_k=4), float(chance)) == 0
    drawn = [pick(ids, logits, Sampling(1.0, top_k=4), c) for c in np.linspace(0, 0.9999, 10_000)]
    assert np.bincount(drawn) / 10_000 == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.001)


def test_only_the_usual_case_goes_the_short_way() -> None:
    assert fits(Sampling(0.8, top_k=40)) and not fits(Sampling(0.8, top_k=0))
    assert not fits(Sampling(0.8, top_k=40, typical_p=0.9))
    assert not fits(Sampling(0.8, top_k=40, xtc_probability=0.5, xtc_threshold=0.1))
