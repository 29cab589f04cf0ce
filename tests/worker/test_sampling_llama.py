"""Every parameter means what it means in llama.cpp, whose samplers are asked for the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rbee.worker.engine.backend import Row
from rbee.worker.engine.llama.vocabulary import LlamaVocabulary
from rbee.worker.engine.sampling import Sampler, Sampling
from rbee.worker.engine.sampling import chain as ours
from rbee.worker.engine.sampling.candidates import Places, best
from rbee.worker.engine.sampling.dry import Dry
from rbee.worker.engine.sampling.history import History
from tests.worker import llamachain as theirs

SEEDS = range(10)
SIZES = (2, 7, 90, 1_500, 6_000)
SHARES = (0.0, 0.1, 0.5, 0.9, 0.99)


@pytest.fixture(scope="module")
def bees() -> Iterator[tuple[LlamaVocabulary, Any]]:
    with theirs.bee_vocabulary() as made:
        yield made


def random_row(seed: int, size: int) -> Row:
    chance = np.random.default_rng((seed, size))
    return (chance.standard_normal(size) * chance.uniform(0.3, 6)).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 2, 40, 300, 5_000])
def test_top_k(size: int, count: int) -> None:
    for seed in SEEDS:
        row = random_row(seed, size)
        assert set(best(row, count).tolist()) == set(theirs.left_by(row, theirs.top_k(count)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", SHARES)
def test_top_p(size: int, share: float) -> None:
    for seed in SEEDS:
        row = random_row(seed, size)
        same_but_for_the_edge(row, ours.top_p(row, share), theirs.left_by(row, theirs.top_p(share)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", SHARES)
def test_typical_p(size: int, share: float) -> None:
    for seed in SEEDS:
        row = random_row(seed, size)
        found = ours.typical(row, share)
        same_but_for_the_edge(row, found, theirs.left_by(row, theirs.typical(share)))


def same_but_for_the_edge(row: Row, found: Places, left: theirs.Left) -> None:
    """They add up thousands of float32, one by one: where the sum passes the goal is a token or
    two away, and the tokens there have next to no share in it."""
    differ = set(found.tolist()) ^ set(left)
    if len(row) < 100:
        assert not differ
        return
    weights = np.exp(row - row.max(), dtype=np.float64)
    assert sum(weights[i] for i in differ) <= 2e-4 * weights.sum()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("least", [0.01, 0.05, 0.5, 1.0])
def test_min_p(size: int, least: float) -> None:
    for seed in SEEDS:
        row = random_row(seed, size)
        assert set(ours.min_p(row, least)) == set(theirs.left_by(row, theirs.min_p(least)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("threshold", [0.0, 0.02, 0.1, 0.3, 0.5, 0.51, 1.0])
def test_xtc(size: int, threshold: float) -> None:
    for seed in SEEDS:
        row = random_row(seed, size)
        found = ours.without_top(row, threshold) if threshold <= 0.5 else range(size)
        assert set(found) == set(theirs.left_by(row, theirs.xtc(1.0, threshold)))


@pytest.mark.parametrize("window", [0, 1, 5, 64])
def test_penalties(window: int) -> None:
    """With no prompt and a window that holds the answer both count the same tokens."""
    for seed in SEEDS:
        chance = np.random.default_rng(seed)
        row = random_row(seed, 30)
        said = chance.integers(0, 30, 50).tolist()[: max(window, 0)]
        repeat, presence, frequency = chance.uniform([0.5, -2, -2], [3, 2, 2]).tolist()
        params = Sampling(
            repeat_penalty=repeat,
            repeat_last_n=window,
            presence_penalty=presence,
            frequency_penalty=frequency,
        )
        left = theirs.left_by(row, theirs.penalties(30, params), said=said)
        assert best_of(row, params, said) == max(left, key=lambda i: left[i])


def best_of(row: Row, params: Sampling, said: list[int]) -> int:
    return Sampler(params, 0, [], NoVocabulary()).pick(row.copy(), said)


class NoVocabulary:
    """Nothing but `dry` asks what tokens mean."""

    size = 0
    ends = ()
    fim = None

    def tokenize(self, text: str, *, add_special: bool) -> list[int]:
        raise AssertionError

    def plain(self, text: str) -> list[int]:
        raise AssertionError

    def piece(self, token: int) -> bytes:
        raise AssertionError

    def is_end(self, token: int) -> bool:
        raise AssertionError


SOME = [300, 301, 302, 303, 304]
BREAKING = [34, 207, 270]
"""Tokens of the embedded model with a colon or a line break in them."""


@pytest.mark.parametrize("last", [1, 3, 30, 2_000])
@pytest.mark.parametrize(("base", "allowed"), [(1.75, 2), (1.0, 1), (1.1, 4), (100.0, 1)])
def test_dry(bees: tuple[LlamaVocabulary, Any], base: float, allowed: int, last: int) -> None:
    vocabulary, pointer = bees
    params = Sampling(
        dry_multiplier=0.8, dry_base=base, dry_allowed_length=allowed, dry_penalty_last_n=last
    )
    for seed in SEEDS:
        chance = np.random.default_rng(seed)
        pool = SOME[: chance.integers(1, 6)] + BREAKING[: chance.integers(0, 2)]
        said = chance.choice(pool, chance.integers(0, 120)).tolist()
        row = random_row(seed, vocabulary.size)
        left = theirs.left_by(row, theirs.dry(pointer, params), said=said)
        same_unless_hopeless(dried(row, params, vocabulary, said), in_order(left))


@pytest.mark.parametrize("strings", [[], ["."], ["thon"], ["an", "e", "<|im_end|>"]])
def test_dry_with_other_breakers(
    bees: tuple[LlamaVocabulary, Any], strings: list[str], last: int = 500
) -> None:
    vocabulary, pointer = bees
    params = Sampling(dry_multiplier=2, dry_penalty_last_n=last, dry_sequence_breakers=strings)
    for seed in SEEDS:
        chance = np.random.default_rng(seed)
        said = chance.choice([2, 267, 890, 300, 356, 445], 60).tolist()
        row = random_row(seed, vocabulary.size)
        left = theirs.left_by(row, theirs.dry(pointer, params), said=said)
        same_unless_hopeless(dried(row, params, vocabulary, said), in_order(left))


def same_unless_hopeless(found: Row, wanted: Row) -> None:
    """Ours never makes a token impossible; theirs does, by penalties that leave float32."""
    assert np.isfinite(found).all()
    assert np.allclose(np.maximum(found, -1e29), np.maximum(wanted, -1e29), rtol=1e-4)


def dried(row: Row, params: Sampling, vocabulary: LlamaVocabulary, said: list[int]) -> Row:
    """Half of it a prompt, half of it an answer that came token by token."""
    half = len(said) // 2
    history, made = History(said[:half], -1), Dry(params, vocabulary)
    for end in range(half, len(said) + 1):
        change = history.follow(said[half:end])
        made.follow(history.ids, change)
    changed = row.copy()
    made.apply(changed, history.ids)
    return changed


def in_order(left: theirs.Left) -> Row:
    return np.array([left[i] for i in range(len(left))], np.float32)


CHAINS = [
    Sampling(0.8, 40, 0.95, 0.05),
    Sampling(1.3, 0, 0.9),
    Sampling(0.7, 0, 1.0, 0.1),
    Sampling(0.7, 0, 0.8, 0.02),
    Sampling(1.0, 0, 1.0, 0.0),
    Sampling(5.0, 12, 0.9, 0.05, 0.8),
    Sampling(0.5, 0, 0.95, 0.01, 0.9),
    Sampling(1.0, 8, xtc_probability=1.0, xtc_threshold=0.1),
    Sampling(0.0, 8, xtc_probability=1.0, xtc_threshold=0.05),
    Sampling(0.0, 8, typical_p=0.3),
    Sampling(0.9, 20, 0.9, repeat_penalty=1.5, presence_penalty=1.0, frequency_penalty=0.5),
    Sampling(0.9, 20, 0.9, bias={3: 9.0, 5: -100.0}, dry_multiplier=1.0, dry_penalty_last_n=64),
]


@pytest.mark.parametrize("number", range(len(CHAINS)))
def test_the_whole_chain_draws_with_the_same_probabilities(
    bees: tuple[LlamaVocabulary, Any], number: int
) -> None:
    vocabulary, pointer = bees
    params = CHAINS[number]
    chance = np.random.default_rng(number)
    row = (chance.standard_normal(vocabulary.size) * 0.5).astype(np.float32)
    row[:40] += np.linspace(7, 1, 40, dtype=np.float32)
    said = chance.integers(0, 12, 60).tolist()
    samplers = theirs.chain(vocabulary.size, pointer, params)
    wanted = probabilities(theirs.left_by(row, *samplers, said=said), vocabulary.size)
    count = 800
    drawn = [Sampler(params, i, [], vocabulary).pick(row.copy(), said) for i in range(count)]
    shares = np.bincount(drawn, minlength=vocabulary.size) / count
    assert not shares[wanted == 0.0].any()
    assert np.abs(shares - wanted).max() < 4.5 * np.sqrt(0.25 / count)


def probabilities(left: theirs.Left, size: int) -> np.ndarray:
    logits = np.full(size, -np.inf)
    logits[list(left)] = list(left.values())
    weights = np.exp(logits - logits.max())
    return np.asarray(weights / weights.sum())
