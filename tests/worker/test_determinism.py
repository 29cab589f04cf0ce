"""The same seed says the same, to the bit, when it is asked for.

Beside others it nearly always does, and that is no promise: kernels add up in another order for
another batch, rarely with 8 and 4 bits and memory of its own for every slot, often in a pool.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from rbee import bee
from rbee.contracts.answers import Choice
from rbee.keeper.bench import weights
from tests.worker import random_architectures
from tests.worker.random_architectures import KINDS
from tests.worker.test_architectures import Rig, drawn, running

pytestmark = pytest.mark.anyio
PROMPTS = [drawn(seed, 20 + 7 * seed) for seed in range(8)]
QUANTISED = {"Q8_0": weights.TINY, "Q4_0": weights.Shape(2, 64, 4, 2, 128, 512, "Q4_0")}


@pytest.fixture(scope="module", params=["bee", *QUANTISED, *KINDS])
def file(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    name = request.param
    if name == "bee":
        yield bee.path()
        return
    path = tmp_path_factory.mktemp("models") / f"{name}.gguf"
    if name in QUANTISED:
        weights.write(path, QUANTISED[name])
    else:
        random_architectures.write(path, name)
    yield path


def opened(file: Path, pool: int) -> AbstractAsyncContextManager[Rig]:
    return running(file, slots=8, pool=pool)


async def said(rig: Rig, number: int, **fields: Any) -> Choice:
    """One of the prompts, drawn with its own seed."""
    given = {"temperature": 0.8, "top_p": 0.95, "seed": number, "logprobs": 2, **fields}
    return await rig.ask(PROMPTS[number], **given)


@pytest.mark.parametrize("pool", [0, 600], ids=["own", "pool"])
async def test_deterministic_is_the_same_to_the_bit(file: Path, pool: int) -> None:
    """Text and log probabilities, whatever ran before, and whatever waits or wants in beside it."""
    async with opened(file, pool) as rig:
        fresh = [await said(rig, number, deterministic=True) for number in range(4)]
    async with opened(file, pool) as rig:

        async def again(number: int) -> None:
            assert await said(rig, number, deterministic=True) == fresh[number]

        async with anyio.create_task_group() as group:
            for number in range(32):
                group.start_soon(partial(said, rig, number % 8, max_tokens=3 + number))
                if number % 4 == 3:
                    group.start_soon(again, number // 4 % 4)


async def test_nothing_of_what_was_there_before_is_felt(file: Path) -> None:
    """A pool searches for cells from where it last found some: here far from its beginning."""
    before = [drawn(seed, size) for seed, size in enumerate((8, 90, 8, 60, 100, 30, 70))]
    async with running(file, slots=3, pool=256) as rig:
        fresh = await said(rig, 3, deterministic=True)
        for prompt in before:
            await rig.ask(prompt, max_tokens=3)
            assert await said(rig, 3, deterministic=True) == fresh
        for prompt in before:
            await rig.ask(prompt, max_tokens=3)
        assert await said(rig, 3, deterministic=True) == fresh
