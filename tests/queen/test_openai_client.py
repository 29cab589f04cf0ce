"""The official `openai` client, unchanged, against a real queen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import openai
import pytest
from openai import OpenAI

from tests.http import ask
from tests.queen.conftest import queen, stub


@pytest.fixture(params=["/v1", "/openai/v1"])
def client(a_queen: str, request: pytest.FixtureRequest) -> Iterator[OpenAI]:
    with OpenAI(base_url=a_queen + request.param, api_key="none", max_retries=0) as made:
        yield made


def test_chat(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="bee",
        messages=[{"role": "system", "content": "be"}, {"role": "user", "content": "a b c"}],
        max_completion_tokens=10,
        stop="zzz",
        seed=1,
        user="me",
    )
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == "bee"
    assert answer.choices[0].message.content == "a b c"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 6


def test_chat_streamed_with_usage(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="bee",
        messages=[{"role": "user", "content": "one two three"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == "one two three"
    assert [c.choices[0].finish_reason for c in chunks[:-1]][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3
    assert all(c.usage is None for c in chunks[:-1])


def test_several_choices_and_logprobs(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="bee",
        messages=[{"role": "user", "content": "ä b"}],
        n=2,
        logprobs=True,
        top_logprobs=2,
    )
    assert [c.index for c in answer.choices] == [0, 1]
    for choice in answer.choices:
        assert choice.logprobs is not None and choice.logprobs.content is not None
        assert [t.token for t in choice.logprobs.content] == ["ä", " b"]
        assert len(choice.logprobs.content[0].top_logprobs) == 2


def test_tools(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="bee",
        messages=[{"role": "user", "content": "call:weather"}],
        tools=[{"type": "function", "function": {"name": "weather", "parameters": {}}}],
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == ("weather", '{"a":1}')
    assert answer.choices[0].message.content is None
    assert answer.choices[0].finish_reason == "tool_calls"


def test_tools_streamed(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="bee",
        messages=[{"role": "user", "content": "call:weather"}],
        tools=[{"type": "function", "function": {"name": "weather", "parameters": {}}}],
    ) as stream:
        final = stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls or []
    assert call.function.arguments == '{"a":1}'


def test_completions(client: OpenAI) -> None:
    answer = client.completions.create(model="bee", prompt=["a b", "c d e"], logprobs=1, n=2)
    assert [c.text for c in answer.choices] == ["a b", "a b", "c d e", "c d e"]
    assert [c.index for c in answer.choices] == [0, 1, 2, 3]
    assert answer.choices[2].logprobs is not None
    assert answer.choices[2].logprobs.text_offset == [0, 1, 3]


def test_completions_streamed_from_ids(client: OpenAI) -> None:
    stream = client.completions.create(model="bee", prompt=[1, 2, 3], stream=True)
    assert "".join(c.choices[0].text for c in stream) == "1 2 3"


def test_completions_echo(client: OpenAI) -> None:
    answer = client.completions.create(
        model="bee", prompt=["a b", "c"], echo=True, logprobs=1, max_tokens=1, n=2
    )
    assert [c.text for c in answer.choices] == ["a ba", "a ba", "cc", "cc"]
    found = answer.choices[0].logprobs
    assert found is not None
    assert found.tokens == ["a b", "a"]
    assert found.token_logprobs == [None, -0.5]
    assert found.text_offset == [0, 3]
    scored = client.completions.create(model="bee", prompt="a b", echo=True, max_tokens=0)
    assert (scored.choices[0].text, scored.choices[0].finish_reason) == ("a b", "length")
    stream = client.completions.create(
        model="bee", prompt=["a b", "c"], echo=True, max_tokens=1, stream=True
    )
    said = ["", ""]
    for chunk in stream:
        said[chunk.choices[0].index] += chunk.choices[0].text
    assert said == ["a ba", "cc"]


def test_completions_choose_the_best(client: OpenAI) -> None:
    answer = client.completions.create(model="bee", prompt=["a b", "c"], best_of=3, n=2)
    assert [(c.index, c.text) for c in answer.choices] == [
        *((0, "a b"), (1, "a b"), (2, "c"), (3, "c"))
    ]
    assert all(c.logprobs is None for c in answer.choices)
    assert answer.usage is not None and answer.usage.completion_tokens == 9


def test_what_was_thought(client: OpenAI) -> None:
    asked: Any = {"model": "bee", "messages": [{"role": "user", "content": "think: hm a b"}]}
    answer = client.chat.completions.create(**asked)
    message: Any = answer.choices[0].message
    assert (message.reasoning_content, message.content) == ("hm", "a b")
    assert answer.usage is not None and answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 1
    parts = [c.choices[0].delta for c in client.chat.completions.create(**asked, stream=True)]
    assert [p.reasoning_content for p in parts if hasattr(p, "reasoning_content")] == ["hm"]
    newer = client.responses.create(model="bee", input="think: hm a b")
    assert [item.type for item in newer.output] == ["reasoning", "message"]
    assert newer.output_text == "a b"
    replayed = [*(item.model_dump() for item in newer.output), {"role": "user", "content": "c"}]
    assert client.responses.create(model="bee", input=cast(Any, replayed)).output_text == "c"


def test_embeddings(client: OpenAI) -> None:
    whole = client.embeddings.create(model="bee", input=["four", "sixsix"])
    assert [d.embedding for d in whole.data] == [[4.0, 1.0, 2.0, 2.0], [6.0, 1.0, 2.0, 2.0]]
    plain = client.embeddings.create(
        model="bee", input="four", encoding_format="float", dimensions=1
    )
    assert plain.data[0].embedding == [1.0]


def test_models(client: OpenAI) -> None:
    assert [m.id for m in client.models.list().data] == ["bee", "slow-model"]
    assert client.models.retrieve("slow-model").id == "slow-model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("org/repo/of/no.gguf")


def test_an_unknown_model_is_a_404_that_names_the_known(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(
            model="gpt-9", messages=[{"role": "user", "content": "x"}], stream=True
        )
    assert caught.value.code == "model_not_found"
    assert "slow-model" in caught.value.message


def test_a_bad_field_is_a_400_that_names_it(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="bee", messages=[{"role": "user", "content": "x"}], temperature=99
        )
    assert caught.value.param == "temperature"


def test_a_failure_in_mid_stream_is_raised(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="bee", messages=[{"role": "user", "content": "fail:now"}], stream=True
    )
    with pytest.raises(openai.APIError):
        list(stream)


def test_the_workers_own_refusal_comes_through(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="bee", prompt="long: way")
    assert caught.value.code == "context_length_exceeded"


def test_responses(client: OpenAI) -> None:
    whole = client.responses.create(model="bee", input="a b c", instructions="be brief")
    assert whole.output_text == "a b c"
    assert whole.status == "completed"
    seen = []
    stream = client.responses.create(
        model="bee", input=[{"role": "user", "content": "d e"}], stream=True, max_output_tokens=1
    )
    for event in stream:
        seen.append(event.type)
        if event.type == "response.incomplete":
            assert event.response.output_text == "d"
    assert seen[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert seen[-1] == "response.incomplete"


def test_responses_call_functions(client: OpenAI) -> None:
    with client.responses.stream(
        model="bee",
        input="call:weather",
        tools=[{"type": "function", "name": "weather", "parameters": {}, "strict": False}],
    ) as stream:
        final = stream.get_final_response()
    (call,) = final.output
    assert call.type == "function_call"
    assert call.arguments == '{"a":1}'


def test_responses_keep_nothing(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="bee", input="x", previous_response_id="resp_1")
    assert caught.value.param == "previous_response_id"


def test_an_echo_is_told_once_though_the_worker_died_after_it() -> None:
    asked = {"model": "bee", "prompt": "a b", "echo": True}
    with queen() as q, stub(q.url, id="a", die_after=0) as a, stub(q.url, id="b"):
        for _ in range(2):
            found = ask("POST", f"{q.url}/v1/completions", asked).json()
            assert found["choices"][0]["text"] == "a ba b"
        assert a.child.wait(5) == 9, "one of the two had met it"
