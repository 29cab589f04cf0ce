"""No honest step is ever taken for a wedged one, and a hung one soon is."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.errors import BadModelFile
from rbee.worker.engine.backend import Chunk, DecodeFailed
from rbee.worker.engine.batch import Batch
from rbee.worker.engine.patience import LEAST_S, MOVED_PER_S, NEAR, SLACK, UNKNOWN_S, Load, Patience
from rbee.worker.engine.warmup import GROWS, sizes, warm_up
from tests.worker.echo import EchoBackend

VARIES = 3.0
"""How much slower than at its best a healthy machine may be, from one step to the next."""
LOADS = st.builds(
    lambda cells, depth, passes: Load(cells, depth, min(passes, cells)),
    st.integers(1, 4_096),
    st.integers(0, 200_000),
    st.integers(1, 32),
)
STEPS = st.lists(st.tuples(LOADS, st.floats(1.0, VARIES)), min_size=1, max_size=80)
"""What is computed, and how busy the machine is."""


@given(
    pass_s=st.floats(1e-4, 4.0),
    token_s=st.floats(0.0, 0.05),
    look_s=st.floats(0.0, 1e-4),
    steps=STEPS,
)
def test_no_honest_step_is_taken_for_a_wedged_one(
    pass_s: float, token_s: float, look_s: float, steps: list[tuple[Load, float]]
) -> None:
    """Whatever a machine needs to read the weights, for a token, and for each that the token looks
    back at, in whatever order steps come."""
    patience, nothing_known = Patience(), True
    for load, busy in steps:
        back_s = look_s * (load.depth + NEAR)
        took = (load.passes * pass_s + load.cells * (token_s + back_s)) * busy
        assert took <= patience.limit_s(load) or (nothing_known and took > UNKNOWN_S)
        patience.observe(load, took)
        nothing_known = False


@given(
    steps=st.lists(st.tuples(LOADS, st.floats(0.001, 2.0)), max_size=60),
    moved=st.integers(0, 10**12),
)
def test_there_is_always_a_limit(steps: list[tuple[Load, float]], moved: int) -> None:
    patience = Patience()
    for load, took in steps:
        assert (
            LEAST_S
            <= patience.limit_s(Load(load.cells, load.depth, load.passes, moved))
            < float("inf")
        )
        patience.observe(load, took)


def test_a_big_model_on_a_slow_machine() -> None:
    """20 s for 512 prompt tokens, 2 s a decoding step."""
    patience = Patience()
    assert patience.limit_s(Load(512, 512)) == UNKNOWN_S
    patience.observe(Load(512, 512), 20.0)
    assert patience.limit_s(Load(512, 512)) == SLACK * 20
    assert patience.limit_s(Load(130, 130)) == SLACK * 20, "a smaller one may cost as much"
    patience.observe(Load(1, 100), 2.0)
    assert patience.limit_s(Load(1, 100)) == SLACK * 2
    assert patience.limit_s(Load(2, 100)) == SLACK * 4, "two may cost what two of one would"
    assert patience.limit_s(Load(300, 400)) == SLACK * 20
    assert patience.limit_s(Load(1024, 512)) == SLACK * 40


def test_a_fast_model_that_hangs_is_noticed_after_three_seconds() -> None:
    """Whatever it was about to do, seen or not: its warm-up says enough."""
    patience = Patience()
    for size, took in ((1, 0.005), (4, 0.006), (16, 0.01), (64, 0.03), (256, 0.1)):
        patience.observe(Load(size, size), took)
    for load in (Load(1, 4_000), Load(16, 2_000, 16), Load(400, 400, 3), Load(512, 1_000)):
        assert patience.limit_s(load) == LEAST_S


def test_a_long_conversation_that_comes_back_is_no_hang() -> None:
    """Hundreds of short prompts since: what the long one took has faded."""
    patience = Patience()
    for depth in range(512, 40_000, 512):
        patience.observe(Load(512, depth), 0.4 + depth * 0.4 / 512)
    for _ in range(400):
        patience.observe(Load(512, 512), 0.8)
    for depth in (30_000, 39_000):
        assert patience.limit_s(Load(512, depth)) > 0.4 + depth * 0.4 / 512
    assert patience.limit_s(Load(512, 512)) < 8.0


def test_streams_that_do_not_fit_together_are_borne() -> None:
    """Sixteen beside each other, then each in a pass of its own: a model of 0.3 s a pass."""
    patience = Patience()
    for _ in range(100):
        patience.observe(Load(16, 2_000), 0.4)
    assert patience.limit_s(Load(16, 2_000, 16)) > 16 * 0.3


def test_a_batch_knows_its_load() -> None:
    """Neighbouring slots are one pass; a pool is looked through as a whole."""
    chunks = (Chunk(7, 300, [1] * 40), Chunk(3, 90, [1], 1), Chunk(4, 80, [1], 1))
    assert Batch(chunks, (None,) * 3, behind=300).load(5) == Load(42, 342, 2, 5)


def test_memory_that_moves_is_waited_for_by_its_bytes() -> None:
    patience, gigabyte = Patience(), 10**9
    patience.observe(Load(1, 1), 0.01)
    slowest = MOVED_PER_S / SLACK
    assert patience.limit_s(Load(1, 1, 1, 10 * gigabyte)) >= 10 * gigabyte / slowest
    assert patience.limit_s(Load(1, 1, 1, gigabyte // 2)) == LEAST_S
    patience.observe(Load(1, 1, 1, 10 * gigabyte), 1.0)
    assert 4.0 <= patience.limit_s(Load(1, 1, 1, 10 * gigabyte)) < 4.1
    assert patience.limit_s(Load(1, 1)) == LEAST_S, "it is no step of its size"


def test_one_bad_moment_is_forgotten() -> None:
    patience, load = Patience(), Load(4, 4)
    patience.observe(load, 20.0)
    assert patience.limit_s(load) == 80.0
    for _ in range(100):
        patience.observe(load, 0.01)
    assert patience.limit_s(load) == LEAST_S


def test_a_machine_that_gets_slower_and_slower_is_followed() -> None:
    """A step takes longer with every token, from 0.1 s to 30 s."""
    patience, took = Patience(), 0.1
    while took < 30.0:
        assert took <= patience.limit_s(Load(1, 9)) or took == 0.1
        patience.observe(Load(1, 9), took)
        took *= 1.01


def test_it_says_what_it_knows() -> None:
    patience = Patience()
    patience.observe(Load(1, 0), 0.5)
    assert repr(patience) == "<Patience seconds by tokens {1: 0.5}>"


@given(most=st.integers(1, 10_000))
def test_a_warm_up_climbs_to_the_top(most: int) -> None:
    found = list(sizes(most))
    assert found[0] == 1 and found[-1] == most and found == sorted(set(found))
    assert all(b <= GROWS * a for a, b in pairwise(found))


def test_a_warm_up_leaves_nothing_but_knowledge() -> None:
    backend, patience = EchoBackend(context=300), Patience()
    warm_up(backend, 512, patience, 10.0)
    assert [len(chunk.tokens) for [chunk] in backend.batches] == [1, 1, 4, 16, 64, 256, 299]
    assert patience.limit_s(Load(299, 299)) == LEAST_S
    backend.decode([Chunk(0, 0, [1], outputs=1)])  # the slot is empty: else this is a gap


def test_a_warm_up_stops_before_it_takes_long() -> None:
    backend, patience = EchoBackend(), Patience()
    warm_up(backend, 512, patience, 0.0)
    assert [len(chunk.tokens) for [chunk] in backend.batches] == [1, 1]
    assert patience.limit_s(Load(1, 1)) == LEAST_S


@pytest.mark.parametrize("fatal", [False, True])
def test_a_model_that_cannot_even_warm_up(fatal: bool) -> None:
    """It says so to whoever asks it; when nothing can be trusted any more, it does not start."""
    backend, patience = EchoBackend(), Patience()
    backend.refuse = lambda chunks: DecodeFailed("as told", fatal=fatal)
    with pytest.raises(BadModelFile, match="as told") if fatal else nullcontext():
        warm_up(backend, 512, patience, 10.0)
    assert patience.limit_s(Load(1, 1)) == UNKNOWN_S
