"""Whatever a model's memory is, an answer is the one that it gives alone and from the beginning.

Tiny models with random weights, in this process, through the real backend and engine. The measure
is what one slot answers from an empty memory. Kernels add up in another order for other batches, so
numbers agree closely and not exactly, and an answer is compared as far as it was decided.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from rbee.contracts.answers import Choice, InferAnswer
from rbee.contracts.events import Logprob
from rbee.contracts.operations import Infer
from rbee.worker.engine.engine import Engine
from rbee.worker.engine.llama import loading
from rbee.worker.engine.llama.backend import LlamaBackend
from rbee.worker.engine.sampling import Sampling
from rbee.worker.prepare import LoadedModel
from rbee.worker.service import Service
from rbee.worker.template import ChatTemplate
from rbee.worker.ticket import Ticket, whole
from tests.worker import random_architectures
from tests.worker.random_architectures import KINDS, STATEFUL, TOKENS
from tests.worker.rig import until

pytestmark = pytest.mark.anyio
SLOTS, CONTEXT, LENGTH = 4, 256, 20
POOL = 256
"""One context: somebody has to give way now and then."""
WITHIN_S = 60.0
BANNED = 0
"""The end, which is ignored: it is told how likely it was, and never said."""
CLOSE = 0.2
"""How far log probabilities may be apart, and how near two tokens so that either may be said."""


@dataclass
class Rig:
    """A model at work in this process."""

    backend: LlamaBackend
    engine: Engine
    service: Service
    keeps: bool = True

    async def begin(self, prompt: list[int], **fields: Any) -> Ticket:
        given = {"temperature": 0.0, "max_tokens": LENGTH, "logprobs": 3, "ignore_eos": True}
        given["deterministic"] = not self.keeps
        return await self.service.begin(Infer(model="m", prompt=prompt, **{**given, **fields}))

    async def answer(self, prompt: list[int], **fields: Any) -> InferAnswer:
        with anyio.fail_after(WITHIN_S):
            return await whole(await self.begin(prompt, **fields))

    async def ask(self, prompt: list[int], **fields: Any) -> Choice:
        return (await self.answer(prompt, **fields)).choices[0]


@asynccontextmanager
async def running(
    file: Path, *, slots: int = SLOTS, pool: int = 0, keeps: bool = True, **more: Any
) -> AsyncIterator[Rig]:
    loading.start()
    backend = LlamaBackend(
        file,
        slots=slots,
        context=CONTEXT,
        batch_tokens=64,
        threads=1,
        device="cpu",
        gpu_layers=0,
        on_progress=lambda part: None,
        kv_tokens=pool,
    )
    template = ChatTemplate(None, "", "")
    model = LoadedModel("m", file, "", slots, CONTEXT, backend.vocabulary, template, **more)
    model.recommended = Sampling()
    service = Service(model, "w", 100)
    deaths: list[str] = []
    engine = Engine(backend, 64, service.publish, deaths.append)
    service.attach(engine)
    engine.start()
    try:
        yield Rig(backend, engine, service, keeps)
        await until(lambda: engine.planner.idle or deaths)
    finally:
        assert engine.stop()
        backend.close()
    assert not deaths


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def file(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_architectures.write(tmp_path_factory.mktemp("models") / f"{kind}.gguf", kind)


@pytest.fixture(scope="module", params=[0, POOL], ids=["own", "pool"])
def pool(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def open_rig(file: Path, pool: int) -> Any:
    return partial(running, file, pool=pool)


@pytest.fixture
def cold(file: Path, pool: int) -> Any:
    """What is answered alone and from the beginning: one slot, which keeps nothing."""
    return partial(running, file, slots=1, pool=pool, keeps=False)


@pytest.fixture
def cuts(kind: str, pool: int) -> bool:
    """Whether what a slot holds can be used in part: not a state, nor a window in a pool."""
    return kind not in STATEFUL and not (pool and kind == "gemma2")


def drawn(seed: int, count: int) -> list[int]:
    return random.Random(seed).choices(range(5, TOKENS), k=count)


def agree(found: Choice, expected: Choice) -> int:
    """Tokens that are the same; from where two were as likely as one another, all may differ."""
    pairs = zip(scores(found), scores(expected), strict=False)
    for number, (ours, theirs) in enumerate(pairs):
        if ours.token_id != theirs.token_id:
            likely = [top.logprob or 0.0 for top in theirs.top if top.token_id != BANNED]
            first, second = likely[:2]
            assert first - second < 2 * CLOSE, f"token {number} is another"
            return number
        assert ours.logprob == pytest.approx(theirs.logprob, abs=CLOSE), f"token {number}"
    assert len(found.token_ids) == len(expected.token_ids)
    return len(found.token_ids)


def scores(choice: Choice) -> list[Logprob]:
    assert choice.logprobs is not None
    return choice.logprobs


async def test_beside_others_as_alone(cold: Any, open_rig: Any, kind: str, pool: int) -> None:
    """More prompts than slots, of many lengths, and of different limits: slots fall free here and
    there, gaps are filled or closed."""
    prompts = [drawn(seed, 3 + 17 * seed) for seed in range(8)]
    limits = [40, 5, 30, 12, 25, 40, 3, 33]
    same = 0
    async with cold() as alone, open_rig() as rig:
        answers: dict[int, Choice] = {}

        async def one(number: int) -> None:
            answers[number] = await rig.ask(prompts[number], max_tokens=limits[number])

        async with anyio.create_task_group() as group:
            for number in range(len(prompts)):
                group.start_soon(one, number)
        for number, answer in answers.items():
            expected = await alone.ask(prompts[number], max_tokens=limits[number])
            same += agree(answer, expected)
        assert bool(rig.engine.planner.preempted) == (pool > 0 and kind != "mamba")
    assert same > sum(limits) // 2, "what was compared means little"


async def test_a_conversation_goes_on_where_it_was(cold: Any, open_rig: Any, cuts: bool) -> None:
    async with cold() as alone, open_rig() as rig:
        first = drawn(1, 70)
        said = await rig.ask(first)
        agree(said, await alone.ask(first))
        second = [*first, *said.token_ids, *drawn(2, 9)]
        answer = await rig.answer(second)
        agree(answer.choices[0], await alone.ask(second))
        assert answer.usage.cached_tokens >= len(first) + len(said.token_ids) - 1
        spoken = answer.choices[0].token_ids
        other = [*first[:50], *drawn(3, 30)]
        answer = await rig.answer(other)
        agree(answer.choices[0], await alone.ask(other))
        assert answer.usage.cached_tokens == (50 if cuts else 0)
        third = [*second, *spoken, *drawn(5, 12)]
        answer = await rig.answer(third)
        agree(answer.choices[0], await alone.ask(third))
        assert answer.usage.cached_tokens >= len(second) + len(spoken) - 1


async def test_what_left_the_window_is_not_looked_at_again(cold: Any, open_rig: Any) -> None:
    """A pool gives such cells to other slots: here to the fourth prompt."""
    first, second, third, fourth = (drawn(seed, size) for seed, size in enumerate((8, 90, 8, 60)))
    async with cold() as alone, open_rig(slots=3) as rig:
        for prompt in (first, second, third, fourth, [*second[:50], *drawn(7, 20)]):
            agree(await rig.ask(prompt, max_tokens=3), await alone.ask(prompt, max_tokens=3))


async def test_a_common_beginning_is_copied(cold: Any, open_rig: Any, cuts: bool) -> None:
    """Of a slot that is free, of one that is at it, and for the choices of one request."""
    system = drawn(4, 80)
    prompts = [[*system, *drawn(10 + number, 4 + number)] for number in range(6)]
    async with cold() as alone, open_rig() as rig:
        await rig.ask(system)
        cached = 0

        async def one(prompt: list[int]) -> None:
            nonlocal cached
            answer = await rig.answer(prompt, n=2, max_tokens=9)
            expected = await alone.ask(prompt, max_tokens=9)
            for choice in answer.choices:
                agree(choice, expected)
            cached += answer.usage.cached_tokens

        async with anyio.create_task_group() as group:
            for prompt in prompts:
                group.start_soon(one, prompt)
        assert cached > 0 or not cuts
        assert rig.backend.can_trim == cuts
        assert rig.engine.planner.slots.can_trim == rig.backend.can_trim, "it was found out late"


async def test_drafts_change_nothing(cold: Any, open_rig: Any, cuts: bool) -> None:
    async with cold() as alone, open_rig(speculate_tokens=6) as rig:
        for seed in range(6):
            prompt = drawn(seed, 5) * (seed + 2)
            agree(await rig.ask(prompt, max_tokens=40), await alone.ask(prompt, max_tokens=40))
        assert bool(rig.engine.counters.drafted) == cuts


async def test_scored_prompts_side_by_side(cold: Any, open_rig: Any) -> None:
    """More rows than a step may have; then on from what was scored without a word said."""
    prompts = [drawn(seed, 40 + seed) for seed in range(5)]
    async with cold() as alone, open_rig() as rig:

        async def one(prompt: list[int]) -> None:
            fields = {"echo": True, "max_tokens": 0}
            found, expected = await rig.answer(prompt, **fields), await alone.ask(prompt)
            assert found.prompt is not None and found.prompt.logprobs is not None
            assert [s.token_id for s in found.prompt.logprobs] == prompt
            agree(
                await rig.ask([*prompt, *expected.token_ids]),
                await alone.ask([*prompt, *expected.token_ids]),
            )

        async with anyio.create_task_group() as group:
            for prompt in prompts:
                group.start_soon(one, prompt)


async def test_who_leaves_takes_nobody_along(cold: Any, open_rig: Any) -> None:
    """Cancelled in the line, in the prompt and in the answer; the others and the next are right."""
    chance = random.Random(9)
    async with cold() as alone, open_rig() as rig:
        shared = drawn(6, 60)

        async def one(number: int) -> None:
            prompt = [*shared[: chance.randint(0, 60)], *drawn(100 + number, chance.randint(1, 60))]
            leaves = number % 3 == 0
            ticket = await rig.begin(prompt, priority=number % 2)
            if leaves:
                with anyio.move_on_after(chance.random() / 10):
                    await ticket.log.wait(ticket.log.total + chance.randint(0, 4))
                ticket.cancel()
                return
            with anyio.fail_after(WITHIN_S):
                found = (await whole(ticket)).choices[0]
            agree(found, await alone.ask(prompt))

        async with anyio.create_task_group() as group:
            for number in range(24):
                group.start_soon(one, number)


@pytest.mark.parametrize("kind", ["mamba", "lfm2"], indirect=False)
async def test_a_memory_that_turns_out_uncuttable_is_computed_anew(
    kind: str, tmp_path: Path
) -> None:
    """Should a model be taken for one whose memory can be cut, answers are right all the same."""
    made = random_architectures.write(tmp_path / "model.gguf", kind)
    async with (
        running(made, slots=1, keeps=False) as alone,
        running(made, speculate_tokens=4) as rig,
    ):
        rig.engine.planner.slots.can_trim = True
        first = drawn(1, 70)
        for prompt in (first, [*first[:50], *drawn(3, 30)], drawn(2, 4) * 5):
            agree(await rig.ask(prompt), await alone.ask(prompt))
        assert not rig.engine.planner.slots.can_trim
