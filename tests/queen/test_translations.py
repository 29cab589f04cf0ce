"""Folds and translations: what streams say piece by piece is what the whole answer says."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.contracts.events import AnyEvent, Done, Token, Usage
from rbee.contracts.operations import Infer
from rbee.contracts.worker_api import Vectors
from rbee.errors import Invalid
from rbee.queen.inference import joined
from rbee.queen.openai import chat, completions, messages, translate, vectors
from rbee.queen.openai.messages_requests import MessagesRequest
from rbee.queen.openai.requests import ChatRequest, CompletionRequest, EmbeddingRequest
from rbee.queen.openai.responses_requests import ResponsesRequest
from rbee.queen.openai.responses_stream import ResponseEvents
from rbee.wire.codec import decode
from rbee.wire.fold import Fold
from rbee.wire.sse import FrameReader

CHOICES = 2
said = st.lists(
    st.tuples(st.integers(0, CHOICES - 1), st.text(max_size=5), st.integers(0, 9)), max_size=20
)


def tokens(drawn: Sequence[tuple[int, str, int]]) -> list[AnyEvent]:
    made: list[AnyEvent] = []
    count = [0] * CHOICES
    for choice, text, token_id in drawn:
        made.append(Token(index=count[choice], text=text, token_ids=[token_id], choice=choice))
        count[choice] += 1
    usage = Usage(3, len(drawn))
    made.append(Done(finish_reason="stop", finish_reasons=["stop", "length"], usage=usage))
    return made


def batches(events: list[AnyEvent], sizes: list[int]) -> list[list[AnyEvent]]:
    made, rest = [], events
    for size in sizes:
        made.append(rest[:size])
        rest = rest[size:]
    return [batch for batch in [*made, rest] if batch]


def frames(raw: bytes) -> list[Any]:
    return [json.loads(data) for data in FrameReader().feed(raw)]


def texts_of(drawn: Sequence[tuple[int, str, int]]) -> list[str]:
    return ["".join(t for c, t, _ in drawn if c == choice) for choice in range(CHOICES)]


sizes = st.lists(st.integers(1, 5), max_size=5)


@given(said, sizes)
def test_a_fold_is_the_sum_of_its_events(drawn: Any, cuts: list[int]) -> None:
    fold, events = Fold(CHOICES), tokens(drawn)
    for batch in batches(events, cuts):
        fold.add(batch)
    done = events[-1]
    assert isinstance(done, Done)
    answer = fold.answer("job-1", done)
    assert [c.text for c in answer.choices] == texts_of(drawn)
    assert [c.finish_reason for c in answer.choices] == ["stop", "length"]
    assert [c.token_ids for c in answer.choices] == [
        [i for c, _, i in drawn if c == choice] for choice in range(CHOICES)
    ]


@given(said, sizes, st.booleans())
def test_chat_chunks_say_what_the_answer_says(drawn: Any, cuts: list[int], usage: bool) -> None:
    chunks = chat.ChatChunks("job-1", "bee", 7, CHOICES, usage)
    raw = b"".join(chunks(0, batch) for batch in batches(tokens(drawn), cuts))
    found = frames(raw)
    inside = [c for f in found for c in f["choices"]]
    for choice, text in enumerate(texts_of(drawn)):
        mine = [c for c in inside if c["index"] == choice]
        assert mine[0]["delta"]["role"] == "assistant"
        assert "".join(c["delta"].get("content", "") for c in mine) == text
        assert [c["finish_reason"] for c in mine[:-1]] == [None] * (len(mine) - 1)
        assert mine[-1]["finish_reason"] == ("stop", "length")[choice]
    assert ({"usage"} <= found[0].keys()) == usage
    assert (found[-1]["choices"] == []) == usage


@given(said, sizes)
def test_text_chunks_say_what_the_answer_says(drawn: Any, cuts: list[int]) -> None:
    chunks = completions.TextChunks("job-1", "bee", 7, CHOICES, False)
    raw = b"".join(chunks(0, batch) for batch in batches(tokens(drawn), cuts))
    inside = [c for f in frames(raw) for c in f["choices"]]
    for choice, text in enumerate(texts_of(drawn)):
        assert "".join(c["text"] for c in inside if c["index"] == choice) == text


@given(st.lists(st.text(max_size=5), max_size=10), sizes)
def test_the_other_dialects_streams_too(drawn: list[str], cuts: list[int]) -> None:
    events = tokens([(0, text, 1) for text in drawn])
    asked = ResponsesRequest(model="bee", input="x", stream=True)
    newer = ResponseEvents("job-1", asked, 7)
    theirs = messages.MessageEvents("job-1", "bee")
    cut = batches(events, cuts)
    found = frames(b"".join(newer(0, batch) for batch in cut))
    assert [f["sequence_number"] for f in found] == list(range(len(found)))
    assert "".join(f["delta"] for f in found if f["type"].endswith("text.delta")) == "".join(drawn)
    assert found[-1]["response"]["output"][0]["content"][0]["text"] == "".join(drawn)
    spoken = frames(b"".join(theirs(0, batch) for batch in cut))
    deltas = [f["delta"]["text"] for f in spoken if f["type"] == "content_block_delta"]
    assert "".join(deltas) == "".join(drawn)
    assert spoken[-1]["type"] == "message_stop"


def chat_infer(**more: Any) -> Infer:
    given = {"model": "bee", "messages": [{"role": "user", "content": "x"}], **more}
    return translate.chat(decode(json.dumps(given).encode(), ChatRequest))


def test_chat_requests() -> None:
    assert chat_infer(max_tokens=3, max_completion_tokens=5).max_tokens == 5
    assert chat_infer(stop="a").stop == ["a"]
    assert chat_infer(stop=["a", "b"]).stop == ["a", "b"]
    assert chat_infer().stream is False
    assert chat_infer(logprobs=True).logprobs == 0
    assert chat_infer(logprobs=True, top_logprobs=4).logprobs == 4
    assert chat_infer(response_format={"type": "json_object"}).json_schema == {"type": "object"}
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array"}}}
    assert chat_infer(response_format=schema).json_schema == {"type": "array"}
    assert chat_infer(response_format={"type": "text"}, temperature=None).json_schema is None
    ignored = {"user": "u", "store": True, "metadata": {"a": "b"}, "service_tier": "auto"}
    assert chat_infer(**ignored, parallel_tool_calls=True) == chat_infer()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("top_logprobs", 3),
        ("functions", []),
        ("audio", {}),
        ("reasoning_effort", "high"),
        ("modalities", ["audio"]),
        ("stop", [""]),
        ("n", 1_000),
        ("logit_bias", {"1": 101}),
    ],
)
def test_what_cannot_be_honoured_is_named(field: str, value: Any) -> None:
    with pytest.raises(Invalid) as caught:
        chat_infer(**{field: value})
    assert field in caught.value.path


def completion_infers(prompt: Any, **more: Any) -> list[Infer]:
    body = json.dumps({"model": "bee", "prompt": prompt, **more}).encode()
    return translate.completions(decode(body, CompletionRequest))


def test_prompts_come_in_four_forms() -> None:
    for prompt, wanted in [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
    ]:
        assert [i.prompt for i in completion_infers(prompt)] == wanted
    assert completion_infers("a")[0].max_tokens == 16
    bads: list[Any] = [[], ["a", 1], [[1], "a"], [[]], {}, None]
    for bad in bads:
        with pytest.raises(Invalid):
            completion_infers(bad)
    for field, value in {"echo": True, "suffix": "x", "best_of": 3}.items():
        with pytest.raises(Invalid) as caught:
            completion_infers("a", **{field: value})
        assert caught.value.path == f"$.{field}"


def test_ends_of_several_prompts_are_joined() -> None:
    first = Done(finish_reason="stop", finish_reasons=["stop", "length"], usage=Usage(1, 2))
    second = Done(finish_reason="length", usage=Usage(3, 4))
    both = joined([(first, 2), (second, 1)])
    assert both.finish_reasons == ["stop", "length", "length"]
    assert both.usage == Usage(4, 6)


def test_vectors() -> None:
    found = Vectors(model="m", vectors=[[3.0, 4.0, 12.0]], prompt_tokens=2)
    asked = EmbeddingRequest(model="bee", input="x", dimensions=2)
    assert vectors.embeddings(found, asked)["data"][0]["embedding"] == [0.6, 0.8]
    asked.dimensions = 4
    with pytest.raises(Invalid):
        vectors.embeddings(found, asked)
    assert math.isclose(vectors.cosine([1, 0], [1, 1]), math.sqrt(0.5))
    assert vectors.cosine([0, 0], [1, 1]) == 0.0


def test_anthropic_turns() -> None:
    body = {
        "model": "bee",
        "max_tokens": 5,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c", "content": "r"},
                    {"type": "text", "text": "t"},
                ],
            },
        ],
    }
    infer = messages.infer_of(decode(json.dumps(body).encode(), MessagesRequest))
    assert [m.role for m in infer.messages or ()] == ["system", "assistant", "tool", "user"]
    assert msgspec.to_builtins(infer)["messages"][1]["tool_calls"][0]["function"]["name"] == "f"
