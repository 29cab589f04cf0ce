"""The engine and the service over the echo, in real threads: answers, limits, conservation."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import anyio
import numpy as np
import pytest
from llguidance import LLTokenizer

from rbee.contracts.events import Done, Queued, Token
from rbee.contracts.operations import Infer
from rbee.contracts.worker_api import Embed
from rbee.errors import ModelNotFound, RbeeError
from rbee.worker.engine.pooling import VECTORS_A_STEP
from tests.worker.echo import WIDTH, said, spoken
from tests.worker.rig import Rig, running, until

pytestmark = pytest.mark.anyio


async def test_the_answer_is_the_echo() -> None:
    async with running() as rig:
        answer = await rig.ask("Hällo 🐝")
        [choice] = answer.choices
        assert (choice.text, choice.finish_reason) == ("Hällo 🐝", "stop")
        assert choice.token_ids == said("Hällo 🐝")
        assert answer.usage.prompt_tokens == answer.usage.completion_tokens == 11
        assert (answer.model, answer.worker_id, answer.sha256) == ("echo", "echo-1", "e" * 64)
        await rig.idle()


async def test_events_come_in_order_and_account_for_every_token() -> None:
    async with running() as rig:
        *tokens, done = await rig.events(await rig.begin("ab🐝cd"))
        assert isinstance(done, Done) and done.finish_reasons == ["stop"]
        counted = 0
        for event in tokens:
            assert isinstance(event, Token) and event.index == counted
            counted += len(event.token_ids)
            assert spoken(event.token_ids).decode() == event.text
        assert counted == done.usage.completion_tokens == 8
        assert done.timings.prompt_ms >= 0 and done.timings.queued_ms >= 0


async def test_each_of_n_choices_is_a_whole_answer() -> None:
    async with running(slots=2) as rig:
        answer = await rig.ask("echo", n=5, temperature=1.0, seed=1)
        assert [c.text for c in answer.choices] == ["echo"] * 5
        assert [c.index for c in answer.choices] == list(range(5))
        assert answer.usage.completion_tokens == 20 and answer.usage.prompt_tokens == 4


async def test_the_number_of_tokens_is_limited() -> None:
    async with running() as rig:
        [choice] = (await rig.ask("abcdef", max_tokens=4)).choices
        assert (choice.text, choice.finish_reason) == ("abcd", "length")
        [choice] = (await rig.ask("é!", max_tokens=1)).choices
        assert choice.text == "�", "a cut character is said as such"


async def test_the_context_ends_an_answer() -> None:
    async with running(context=16) as rig:
        [choice] = (await rig.ask("0123456789")).choices
        assert (choice.text, choice.finish_reason) == ("012345", "length")
        [choice] = (await rig.ask("x" * 15)).choices
        assert (choice.text, choice.finish_reason) == ("x", "length")


@pytest.mark.parametrize(
    ("stops", "text"),
    [(["ll"], "he"), (["o w", "or"], "hell"), (["x"], "hello world"), (["hello world"], "")],
)
async def test_stop_strings_end_an_answer(stops: list[str], text: str) -> None:
    async with running() as rig:
        answer = await rig.ask("hello world", stop=stops)
        assert (answer.choices[0].text, answer.choices[0].finish_reason) == (text, "stop")
        stopped_at = answer.usage.completion_tokens
        assert stopped_at == len(answer.choices[0].token_ids) <= len("hello world")


async def test_logprobs_go_with_their_tokens() -> None:
    async with running() as rig:
        [choice] = (await rig.ask("a🐝", logprobs=2)).choices
        assert choice.logprobs is not None
        assert [p.token_id for p in choice.logprobs] == choice.token_ids
        assert all((p.logprob or 0.0) > -0.1 and len(p.top) == 2 for p in choice.logprobs)
        assert (await rig.ask("a")).choices[0].logprobs is None


async def test_output_follows_a_grammar() -> None:
    tokenizer = LLTokenizer("byte")
    # The byte tokenizer's end token is not the echo's, so that the grammar must end the answer.
    async with running(guide=lambda: tokenizer) as rig:
        answer = await rig.ask("yes no", grammar='root ::= "no" | "maybe"', n=3)
        assert {c.text for c in answer.choices} <= {"no", "maybe"}
        assert {c.finish_reason for c in answer.choices} == {"stop"}


async def test_a_step_publishes_once() -> None:
    async with running(slots=4) as rig:
        rig.backend.hold()  # until all are there: whenever nobody is, what there is is said
        async with anyio.create_task_group() as group:
            for i in range(12):
                group.start_soon(rig.ask, f"request {i}")
            await until(lambda: len(rig.service.jobs) == 12)
            rig.backend.release()
        await rig.idle()
        # What one step made goes with the next one's decode, the last of all at once.
        assert len(rig.published) <= len(rig.backend.batches) + 2
        assert len(rig.backend.batches) <= rig.engine.steps


async def test_a_long_prompt_does_not_stall_a_running_stream() -> None:
    async with running(slots=2, context=4_096, budget=32) as rig:
        rig.backend.hold()
        stream = await rig.begin("a" * 40)
        rig.backend.step(2)  # its prompt: 32 + 8
        await until(lambda: len(rig.backend.batches) == 3)
        long = await rig.begin("b" * 1_000)
        rig.backend.step(10)
        await until(lambda: len(rig.backend.batches) == 13)
        for batch in rig.backend.batches[3:]:
            sizes = sorted(len(chunk.tokens) for chunk in batch)
            assert sizes[0] == 1 and 8 <= sizes[1] <= 31, "both get on, within the budget"
        rig.backend.release()
        for ticket in (stream, long):
            await rig.events(ticket)


async def test_two_hundred_requests_at_once_all_get_their_own_answer() -> None:
    chance = random.Random(7)
    prompts = [
        "".join(chance.choices("abcdefgh é🐝\n", k=chance.randint(1, 100))) for _ in range(200)
    ]
    async with running(slots=7, budget=40) as rig:

        async def one(prompt: str) -> None:
            limit = chance.choice([None, chance.randint(1, 60)])
            [choice] = (
                await rig.ask(prompt, max_tokens=limit, priority=chance.randint(-2, 2))
            ).choices
            raw = prompt.encode()[:limit]
            assert spoken(choice.token_ids) == raw
            assert choice.text == raw.decode("utf-8", "replace")

        async with anyio.create_task_group() as group:
            for prompt in prompts:
                group.start_soon(one, prompt)
        await rig.idle()
        check_conservation(rig, 200)


def check_conservation(rig: Rig, requests: int) -> None:
    """Every request admitted once per choice, and every token that was computed was wanted."""
    updates = [u for _, published in rig.published for u in published]
    admitted = Counter((u.request, u.choice) for u in updates if u.admitted is not None)
    finished = Counter((u.request, u.choice) for u in updates if u.finish is not None)
    assert admitted == finished and len(admitted) == requests
    assert set(admitted.values()) == {1}
    assert rig.service.requests == requests and not rig.deaths
    assert rig.service.tokens_out == sum(len(u.tokens) for u in updates)


async def test_higher_priority_goes_first_among_the_waiting() -> None:
    async with running(slots=1) as rig:
        rig.backend.hold()
        first = await rig.begin("first")
        await until(lambda: rig.engine.busy == 1)
        others = [await rig.begin(f"p{p}", priority=p) for p in (0, 5, -5, 5)]
        assert all(isinstance(t.log.since(0)[0], Queued) for t in others)
        rig.backend.release()
        for ticket in (first, *others):
            await rig.events(ticket)
        got_slots = [t.admitted or 0.0 for t in others]
        assert sorted(range(4), key=got_slots.__getitem__) == [1, 3, 0, 2]


async def test_another_models_name_is_not_found() -> None:
    async with running() as rig:
        for name in ("echo", "echo.gguf", "/models/echo.gguf"):
            await rig.service.begin(Infer(model=name, prompt="a"))
        with pytest.raises(ModelNotFound, match="'echo', not 'other'"):
            await rig.service.begin(Infer(model="other", prompt="a"))


async def test_vectors_are_normalised_and_in_order() -> None:
    async with running() as rig:
        found = await rig.service.embed(Embed(model="echo", input=["a", "bb", [1, 2]]))
        assert found.prompt_tokens == 5
        assert np.allclose(np.linalg.norm(found.vectors, axis=1), 1.0)
        assert found.vectors[0].index(max(found.vectors[0])) == ord("a") % WIDTH
        raw = await rig.service.embed(Embed(model="echo", input=["bb"], normalise=False))
        assert sum(raw.vectors[0]) == 2.0


async def test_a_long_list_of_vectors_does_not_stall_a_running_stream() -> None:
    """Between two tokens of a stream at most one group of vectors is computed."""
    async with running() as rig:
        computed: list[int] = []
        groups: list[int] = []
        plain = rig.backend.embed

        def counting(inputs: Sequence[object]) -> list[np.ndarray]:
            computed.append(len(rig.backend.batches))
            groups.append(len(inputs))
            return plain([[1]] * len(inputs))

        rig.backend.embed = counting  # type: ignore[method-assign]
        rig.backend.hold()
        stream = await rig.begin("stream" * 10)
        await until(lambda: rig.engine.busy == 1)
        async with anyio.create_task_group() as group:
            group.start_soon(rig.service.embed, Embed(model="echo", input=["a"] * 200))
            await until(lambda: computed or rig.service.door._inside)
            rig.backend.step(10)
            await until(lambda: len(rig.backend.batches) == 11)
            assert computed and max(Counter(computed).values()) == 1
            rig.backend.release()
        assert sum(groups) == 200 and max(groups) <= VECTORS_A_STEP
        await rig.events(stream)


async def test_an_answer_without_usable_logits_still_ends() -> None:
    async with running() as rig:
        plain = rig.backend.rows
        rig.backend.rows = lambda: plain() * np.float32(np.nan)  # type: ignore[method-assign]
        answer = await rig.ask("abc", max_tokens=5)
        assert answer.choices[0].finish_reason == "length" and not rig.deaths


async def test_a_ticket_that_has_ended_raises_what_ended_it() -> None:
    async with running() as rig:
        ticket = await rig.begin("x" * 100)
        ticket.cancel()
        ticket.cancel()
        with pytest.raises(RbeeError, match="cancelled"):
            raise ticket.error or AssertionError
        await rig.idle()
