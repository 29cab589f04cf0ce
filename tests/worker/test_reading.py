"""Calls, thoughts and prompts through a whole engine, over the echo: it says what it is told."""

from __future__ import annotations

import anyio
import pytest

from rbee.contracts.chat import FunctionSpec, Message, Tool
from rbee.contracts.events import Prompt, Token
from rbee.contracts.operations import Infer
from rbee.worker.reasoning import KNOWN
from rbee.worker.template import ChatTemplate
from rbee.worker.ticket import whole
from tests.worker.rig import WITHIN_S, running

pytestmark = pytest.mark.anyio

TOOLS = [Tool(FunctionSpec("f"))]
CALL = '<tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>'


async def test_calls_are_told_apart_from_text() -> None:
    async with running() as rig:
        [choice] = (await rig.ask(f"So: {CALL}\n{CALL}", tools=TOOLS)).choices
        assert choice.text == "So: " and choice.finish_reason == "tool_calls"
        assert [c.function.arguments for c in choice.tool_calls or ()] == ['{"x": 1}'] * 2


@pytest.mark.parametrize("n", [1, 3])
async def test_the_only_call_wanted_frees_the_slot(n: int) -> None:
    async with running() as rig:
        prompt = f"{CALL} and so on, {'for ever, ' * 100}"
        rig.backend.context = len(prompt) * 2 + 10
        rig.service.model.context = rig.backend.context
        answer = await rig.ask(prompt, tools=TOOLS, parallel_tool_calls=False, n=n)
        for choice in answer.choices:
            assert (choice.text, choice.finish_reason) == ("", "tool_calls")
            assert len(choice.tool_calls or ()) == 1
        await rig.idle()
        assert answer.usage.completion_tokens < n * (len(CALL) + 2)
        assert (await rig.ask("again")).choices[0].text == "again"


async def test_what_is_thought_is_told_apart() -> None:
    async with running() as rig:
        template = "{{ messages[0].content }}{{ '<think>\n' }}"
        rig.service.model.template = ChatTemplate(template, "", "")
        rig.service.model.marks = KNOWN[0]
        chat = [Message("user", "a plan\n</think>\n\nSo")]
        with anyio.fail_after(WITHIN_S):
            ticket = await rig.service.begin(Infer(model="echo", messages=chat, logprobs=0))
            answer = await whole(ticket)
        [choice] = answer.choices
        assert (choice.reasoning, choice.text) == ("a plan", "So<think>\n")
        assert len(choice.logprobs or ()) == len(choice.token_ids)
        assert answer.usage.completion_tokens == len(choice.token_ids)
        assert answer.usage.reasoning_tokens in range(len("a plan\n"), len("a plan\n</think>\n"))


@pytest.mark.parametrize("logprobs", [None, 0, 2])
@pytest.mark.parametrize("n", [1, 2])
async def test_the_prompt_comes_before_every_token(logprobs: int | None, n: int) -> None:
    async with running() as rig:
        ticket = await rig.begin("ab", echo=True, logprobs=logprobs, n=n)
        events = [e for e in await rig.events(ticket) if isinstance(e, Prompt | Token)]
        prompts = [e for e in events if isinstance(e, Prompt)]
        assert events[0] is prompts[0] and len(prompts) == 1 and len(events) > 1
        assert (prompts[0].text, prompts[0].token_ids) == ("ab", list(b"ab"))
        assert (prompts[0].logprobs is None) == (logprobs is None)


async def test_a_text_is_scored_without_an_answer() -> None:
    async with running() as rig:
        answer = await rig.ask("ab", echo=True, logprobs=1, max_tokens=0)
        [choice] = answer.choices
        assert (choice.text, choice.token_ids, choice.finish_reason) == ("", [], "length")
        assert answer.prompt is not None and answer.prompt.text == "ab"
        assert answer.prompt.logprobs is not None
        first, second = answer.prompt.logprobs
        assert first.logprob is None and second.logprob is not None
        assert (first.token_id, second.token_id) == (97, 98)


async def test_the_stop_string_is_told() -> None:
    async with running() as rig:
        [choice] = (await rig.ask("one two", stop=["z", " tw"])).choices
        assert (choice.text, choice.finish_reason, choice.stop) == ("one", "stop", " tw")
