"""What is computed once is not computed again, and nobody sees what is not his: over the echo.

The echo answers from its slots' memory alone, so that a prefix of somebody else's, or one cut at
the wrong place, is heard in the answer.
"""

from __future__ import annotations

import random

import anyio
import pytest

from rbee.contracts.answers import InferAnswer
from tests.worker.echo import said
from tests.worker.rig import running, until

pytestmark = pytest.mark.anyio


def text_of(answer: InferAnswer) -> str:
    return answer.choices[0].text


@pytest.mark.parametrize("pool", [0, 2_048])
async def test_no_nonce_is_ever_heard_by_another(pool: int) -> None:
    """2,000 requests of several salts, whose prompts begin alike, each with a nonce of its own."""
    chance = random.Random(11)
    shared = "You are a careful assistant who never tells secrets. " * 2
    cached: dict[str, int] = {}
    async with running(slots=8, context=256, budget=256, queue_limit=3_000, pool=pool) as rig:
        asked: dict[str, list[str]] = {salt: [] for salt in ("", "a", "b", "c")}

        async def one(number: int) -> None:
            salt = chance.choice(list(asked))
            prompt = f"{shared[: chance.randint(0, len(shared))]}<{chance.getrandbits(64):016x}>"
            asked[salt].append(prompt)
            limit = chance.choice([None, 4, 40])
            answer = await rig.ask(
                prompt, cache_salt=salt or None, max_tokens=limit, priority=number % 3
            )
            assert text_of(answer) == prompt[:limit]
            cached[salt] = cached.get(salt, 0) + answer.usage.cached_tokens

        for start in range(0, 2_000, 100):
            async with anyio.create_task_group() as group:
                for number in range(start, start + 100):
                    group.start_soon(one, number)
        await rig.idle()
    assert all(cached.values()), "the cache was on, and of use to everybody"


async def test_salts_share_nothing_and_the_unsalted_share_among_themselves() -> None:
    async with running(slots=4) as rig:
        prompt = "the same words for everybody"
        found = [await rig.ask(prompt, cache_salt=salt) for salt in ("a", "b", None, "a", "")]
        cached = [answer.usage.cached_tokens for answer in found]
        whole = len(prompt) - 1
        assert cached == [0, 0, 0, whole, whole]


async def test_the_second_turn_of_a_conversation_is_told_truthfully() -> None:
    async with running() as rig:
        first = await rig.ask("a first turn")
        ids = [*b"a first turn", *first.choices[0].token_ids]
        answer = await rig.ask([*ids, *b" and more"])
        assert answer.usage.cached_tokens == len(ids)
        assert answer.usage.prompt_tokens == len(ids) + 9


async def test_n_choices_compute_their_prompt_once() -> None:
    async with running(slots=4) as rig:
        answer = await rig.ask("x" * 50, n=4)
        assert [c.text for c in answer.choices] == ["x" * 50] * 4
        computed = sum(len(chunk.tokens) for batch in rig.backend.batches for chunk in batch)
        fillers = sum(not c.outputs for batch in rig.backend.batches[1:] for c in batch)
        assert computed - fillers == 50 + 3 + 4 * 50  # the last token of each, and what was said
        assert answer.usage.prompt_tokens == 50 and answer.usage.cached_tokens == 0


async def test_a_full_pool_preempts_and_nobody_loses_a_word() -> None:
    """Eight conversations of 100 tokens each in a pool for 250."""
    async with running(slots=8, context=200, budget=200, pool=250) as rig:
        prompts = [f"{number}" * 50 for number in range(8)]
        answers: dict[str, str] = {}

        async def one(prompt: str) -> None:
            answers[prompt] = text_of(await rig.ask(prompt, cache_salt=prompt))

        async with anyio.create_task_group() as group:
            for prompt in prompts:
                group.start_soon(one, prompt)
        assert answers == {prompt: prompt for prompt in prompts}
        assert rig.engine.planner.preempted > 0
        await rig.idle()


async def test_the_lowest_priority_gives_way() -> None:
    async with running(slots=2, context=150, budget=150, pool=160) as rig:

        async def one(prompt: str, priority: int) -> None:
            await rig.ask(prompt, priority=priority, cache_salt=prompt)

        rig.backend.hold()
        async with anyio.create_task_group() as group:
            group.start_soon(one, "l" * 60, -1)
            group.start_soon(one, "h" * 60, 1)
            await until(lambda: len(rig.service.jobs) == 2)
            rig.backend.release()
        updates = [update for _, made in rig.published for update in made]
        letters = {update.request: update.text[0] for update in updates if update.text}
        order = [letters[update.request] for update in updates if update.finish]
        assert order == ["h", "l"] and rig.engine.planner.preempted == 1


async def test_one_that_fits_alone_fits_however_much_is_kept_of_others() -> None:
    async with running(slots=4, context=200, budget=64, pool=200) as rig:
        for number in range(4):
            await rig.ask(f"{number}" * 40)
        assert text_of(await rig.ask("z" * 99)) == "z" * 99
        assert rig.engine.planner.preempted == 0 and rig.engine.planner.slots.evicted > 0


async def test_a_deterministic_request_is_computed_by_itself() -> None:
    async with running(slots=4) as rig:
        await rig.ask("warm the cache")

        async def one(prompt: str, deterministic: bool) -> None:
            answer = await rig.ask(prompt, deterministic=deterministic)
            assert text_of(answer) == prompt
            assert not (deterministic and answer.usage.cached_tokens)

        async with anyio.create_task_group() as group:
            for number in range(12):
                group.start_soon(one, "warm the cache" if number % 3 else "x" * 40, number % 3 == 0)
        for batch in rig.backend.batches:
            if any(ord("x") in chunk.tokens for chunk in batch):
                assert len(batch) == 1, "it had company"


@pytest.mark.parametrize("logprobs", [None, 0, 2])
@pytest.mark.parametrize("limit", [0, 3])
async def test_a_prompt_that_is_to_be_echoed(logprobs: int | None, limit: int) -> None:
    async with running(budget=16) as rig:
        prompt = "score me, all of this text, please"
        answer = await rig.ask(prompt, echo=True, logprobs=logprobs, max_tokens=limit, n=2)
        assert answer.prompt is not None and answer.prompt.text == prompt
        assert [c.text for c in answer.choices] == [prompt[:limit]] * 2
        assert {c.finish_reason for c in answer.choices} == {"length"}
        scores = answer.prompt.logprobs
        if logprobs is None:
            assert not scores
            return
        assert scores is not None and [s.token_id for s in scores] == list(prompt.encode())
        assert scores[0].logprob is None and not scores[0].top
        # After its first token the echo is sure that it will be said again, not heard on.
        assert all(s.logprob is not None and s.logprob < -10 for s in scores[1:])
        assert all(len(s.top) == logprobs for s in scores[1:])
        if logprobs:
            assert scores[1].top[0].token_id == said(prompt)[0]


async def test_drafts_change_no_answer() -> None:
    """The echo repeats its prompt, which repeats itself: most guesses come true, some do not."""
    chance = random.Random(3)
    async with running(speculate_tokens=6) as rig:
        for _ in range(60):
            prompt = "".join(chance.choices("ab", k=chance.randint(1, 12))) * chance.randint(1, 8)
            limit = chance.choice([None, chance.randint(1, 60)])
            answer = await rig.ask(prompt, max_tokens=limit, logprobs=1)
            assert text_of(answer) == prompt[:limit]
            assert answer.usage.completion_tokens == len(prompt[:limit])
            assert len(answer.choices[0].logprobs or ()) == len(prompt[:limit])
        counters = rig.engine.counters
        assert 0 < counters.drafts_true < counters.drafted


async def test_ignoring_the_end_goes_on_to_the_limit() -> None:
    async with running() as rig:
        answer = await rig.ask("abc", ignore_eos=True, max_tokens=10)
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage.completion_tokens == 10


async def test_adapters_take_turns_and_share_nothing() -> None:
    async with running(slots=4, adapters=("red", "blue")) as rig:

        async def one(number: int) -> None:
            lora = (None, "red", "blue")[number % 3]
            assert text_of(await rig.ask("the same prompt", lora=lora)) == "the same prompt"

        async with anyio.create_task_group() as group:
            for number in range(9):
                group.start_soon(one, number)
        assert set(rig.backend.adapters) == {"", "red", "blue"}
