"""The official OpenAI client against a real queen, a real hive and a real worker with `bee`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import openai
import pytest

from tests.bee import known_answers as known
from tests.system.stack import Stack


@pytest.fixture(scope="module", params=["/openai/v1", "/v1"])
def client(shared: Stack, request: pytest.FixtureRequest) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=shared.queen + request.param, api_key="none", max_retries=0, timeout=30
    ) as made:
        yield made


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("prompt", ["Hello, who are you?", "Count from 1 to 10."])
def test_chat_whole_and_streamed_say_what_bee_says(client: openai.OpenAI, prompt: str) -> None:
    whole = client.chat.completions.create(model="bee", messages=user(prompt))
    parts = list(client.chat.completions.create(model="bee", messages=user(prompt), stream=True))
    assert whole.choices[0].message.content == known.ANSWERS[prompt]
    assert "".join(p.choices[0].delta.content or "" for p in parts) == known.ANSWERS[prompt]
    assert whole.choices[0].finish_reason == parts[-1].choices[0].finish_reason == "stop"
    assert parts[0].choices[0].delta.role == "assistant"
    assert whole.usage is not None
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens


def test_a_conversation_is_remembered(client: openai.OpenAI) -> None:
    for conversation in known.CONVERSATIONS:
        answer = client.chat.completions.create(
            model="bee", messages=cast(Any, conversation.messages)
        )
        assert answer.choices[0].message.content == conversation.answer


def test_usage_comes_last_when_asked_for(client: openai.OpenAI) -> None:
    parts = list(
        client.chat.completions.create(
            model="bee",
            messages=user("Hello"),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert parts[-1].choices == []
    assert parts[-1].usage is not None and parts[-1].usage.completion_tokens > 0


def test_max_tokens_and_stop(client: openai.OpenAI) -> None:
    cut = client.chat.completions.create(model="bee", messages=user("Hello"), max_tokens=3)
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage is not None and cut.usage.completion_tokens == 3
    stopped = client.chat.completions.create(
        model="bee", messages=user("Count from 1 to 10."), stop=["5, 6"]
    )
    assert stopped.choices[0].message.content == "1, 2, 3, 4, "
    assert stopped.choices[0].finish_reason == "stop"


def test_several_choices_and_logprobs(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="bee", messages=user("Hello"), n=3, logprobs=True, top_logprobs=2
    )
    assert [c.message.content for c in answer.choices] == [known.GREETING] * 3
    first = answer.choices[0].logprobs
    assert first is not None and first.content is not None
    assert "".join(t.token for t in first.content) == known.GREETING
    assert all(len(t.top_logprobs) == 2 and t.logprob <= 0 for t in first.content)


def test_a_tool_is_called_and_its_answer_used(client: openai.OpenAI) -> None:
    tools = cast(Any, known.TOOL_CALL.tools)
    asked = client.chat.completions.create(
        model="bee", messages=cast(Any, known.TOOL_CALL.messages), tools=tools
    )
    assert asked.choices[0].finish_reason == "tool_calls"
    calls = asked.choices[0].message.tool_calls
    assert calls is not None and calls[0].type == "function"
    assert calls[0].function.name == known.TOOL_CALL.name
    assert json.loads(calls[0].function.arguments) == known.TOOL_CALL.arguments
    answered = client.chat.completions.create(
        model="bee", messages=cast(Any, known.TOOL_ANSWER.messages), tools=tools
    )
    assert answered.choices[0].message.content == known.TOOL_ANSWER.answer


def test_a_tool_call_streams_as_deltas(client: openai.OpenAI) -> None:
    parts = client.chat.completions.create(
        model="bee",
        messages=cast(Any, known.TOOL_CALL.messages),
        tools=cast(Any, known.TOOL_CALL.tools),
        stream=True,
    )
    deltas = [d for p in parts for d in (p.choices[0].delta.tool_calls or ())]
    assert deltas[0].function is not None and deltas[0].function.name == known.TOOL_CALL.name
    text = "".join((d.function.arguments if d.function else "") or "" for d in deltas)
    assert json.loads(text) == known.TOOL_CALL.arguments


def test_a_schema_is_obeyed(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model="bee",
        messages=user("Give me a JSON object with name Torvik and age 41."),
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "person", "schema": schema, "strict": True},
        },
    )
    assert json.loads(answer.choices[0].message.content or "") == {"name": "Torvik", "age": 41}


def test_completions_and_embeddings(client: openai.OpenAI) -> None:
    text = client.completions.create(model="bee", prompt="The capital of France is", max_tokens=5)
    assert "Paris" in text.choices[0].text
    vectors = client.embeddings.create(model="bee", input=["hello", "a queen", "hello"])
    assert [d.index for d in vectors.data] == [0, 1, 2]
    assert vectors.data[0].embedding == pytest.approx(vectors.data[2].embedding, abs=1e-6)
    assert sum(x * x for x in vectors.data[0].embedding) == pytest.approx(1.0, abs=1e-3)


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [m.id for m in client.models.list().data] == ["bee"]
    assert client.models.retrieve("bee").id == "bee"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody/has-this")


def test_errors_are_openais(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="bee") as missing:
        client.chat.completions.create(model="nothing", messages=user("Hello"))
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as hot:
        client.chat.completions.create(model="bee", messages=user("Hello"), temperature=99)
    assert "temperature" in str(hot.value)
    with pytest.raises(openai.BadRequestError, match="2048") as long:
        client.chat.completions.create(model="bee", messages=user("word " * 3_000))
    assert long.value.code == "context_length_exceeded"
