"""Folds and translations: what streams say piece by piece is what the whole answer says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rbee.contracts.chat import FunctionCall, ToolCall
from rbee.contracts.events import AnyEvent, Done, Logprob, Prompt, Token, Usage
from rbee.queen.openai import chat, completions
from rbee.queen.openai.messages_stream import MessageEvents
from rbee.queen.openai.requests import CompletionRequest
from rbee.queen.openai.responses_requests import ResponsesRequest
from rbee.queen.openai.responses_stream import ResponseEvents
from rbee.queen.several import echoed, joined
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
    theirs = MessageEvents("job-1", "bee")
    cut = batches(events, cuts)
    found = frames(b"".join(newer(0, batch) for batch in cut))
    assert [f["sequence_number"] for f in found] == list(range(len(found)))
    assert "".join(f["delta"] for f in found if f["type"].endswith("text.delta")) == "".join(drawn)
    assert found[-1]["response"]["output"][0]["content"][0]["text"] == "".join(drawn)
    spoken = frames(b"".join(theirs(0, batch) for batch in cut))
    deltas = [f["delta"]["text"] for f in spoken if f["type"] == "content_block_delta"]
    assert "".join(deltas) == "".join(drawn)
    assert spoken[-1]["type"] == "message_stop"


spoken_kinds = st.lists(
    st.tuples(st.sampled_from(["text", "reasoning", "call"]), st.text(min_size=1, max_size=5)),
    max_size=12,
)


@given(spoken_kinds, sizes)
def test_blocks_and_items_are_whole_and_in_order(drawn: Any, cuts: list[int]) -> None:
    told: list[AnyEvent] = []
    for kind, text in drawn:
        call = [ToolCall(f"c{len(told)}", FunctionCall("f", "{}"))] if kind == "call" else None
        said = {} if kind == "call" else {kind: text}
        fields: dict[str, Any] = {"text": "", **said, "tool_calls": call}
        told.append(Token(index=len(told), token_ids=[1], **fields))
    told.append(Done(finish_reason="stop"))
    cut = batches(told, cuts)
    wanted = {k: "".join(t for kind, t in drawn if kind == k) for k in ("text", "reasoning")}
    theirs = MessageEvents("job-1", "bee")
    blocks: list[dict[str, str]] = []
    opened: int | None = None
    for event in frames(b"".join(theirs(0, batch) for batch in cut)):
        match event["type"]:
            case "content_block_start":
                assert (opened, event["index"]) == (None, len(blocks))
                opened = event["index"]
                blocks.append({"type": event["content_block"]["type"], "said": ""})
            case "content_block_delta":
                assert opened == event["index"]
                delta = event["delta"]
                blocks[-1]["said"] += delta.get("text", "") + delta.get("thinking", "")
            case "content_block_stop":
                assert opened == event["index"]
                opened = None
    assert opened is None
    assert "".join(b["said"] for b in blocks if b["type"] == "text") == wanted["text"]
    assert "".join(b["said"] for b in blocks if b["type"] == "thinking") == wanted["reasoning"]
    newer = ResponseEvents("job-1", ResponsesRequest(model="bee", input="x"), 7)
    output = frames(b"".join(newer(0, batch) for batch in cut))[-1]["response"]["output"]
    assert len({item["id"] for item in output}) == len(output)
    kinds = {"message": "text", "reasoning": "reasoning"}
    for kind, name in kinds.items():
        parts = [i["content"][0]["text"] for i in output if i["type"] == kind]
        assert "".join(parts) == wanted[name]
    shapes = {"text": "message", "thinking": "reasoning", "tool_use": "function_call"}
    assert [shapes[b["type"]] for b in blocks] == [i["type"] for i in output]


def test_ends_of_several_prompts_are_joined() -> None:
    first = Done(finish_reason="stop", finish_reasons=["stop", "length"], usage=Usage(1, 2))
    second = Done(finish_reason="length", usage=Usage(3, 4))
    both = joined([(first, 2), (second, 1)])
    assert both.finish_reasons == ["stop", "length", "length"]
    assert both.usage == Usage(4, 6)


def scored(text: str, logprob: float | None) -> Logprob:
    top = [Logprob(1, text, logprob, []), Logprob(2, "other", -9.0, [])]
    return Logprob(0, text, logprob, [], [] if logprob is None else top)


def test_an_echoed_prompt_is_the_first_text_of_each_choice() -> None:
    prompt = Prompt(text="ab", token_ids=[1, 2], logprobs=[scored("a", None), scored("b", -1.0)])
    said = Token(index=0, text="c", token_ids=[3], choice=1, logprobs=[scored("c", -2.0)])
    done = Done(finish_reason="stop", finish_reasons=["stop", "stop"])
    told: list[AnyEvent] = []
    emit = echoed(told.extend, 2)
    for event in (prompt, said):
        emit([event])
    fold = Fold(2)
    fold.add(told)
    answer = fold.answer("job-1", done)
    assert [c.text for c in answer.choices] == ["ab", "abc"]
    assert [c.token_ids for c in answer.choices] == [[], [3]]
    shown = completions.completion(answer, "bee", 7)["choices"][1]["logprobs"]
    assert shown["tokens"] == ["a", "b", "c"]
    assert shown["token_logprobs"] == [None, -1.0, -2.0]
    assert shown["text_offset"] == [0, 1, 2]
    assert shown["top_logprobs"][0] is None
    assert shown["top_logprobs"][1] == {"b": -1.0, "other": -9.0}
    chunks = completions.TextChunks("job-1", "bee", 7, 2, False)
    inside = [c for f in frames(chunks(0, [*told, done])) for c in f["choices"] if c["index"] == 1]
    assert [c["text"] for c in inside] == ["ab", "c", ""]
    assert [o for c in inside[:2] for o in c["logprobs"]["text_offset"]] == [0, 1, 2]


def test_the_best_are_the_likeliest_in_the_mean() -> None:
    fold = Fold(6)
    for choice, values in enumerate([[-1.0, -1.0], [-0.5], [-3.0], [-2.0], [-0.1, -0.3], [-9.0]]):
        logs = [scored("p", -50.0), *(scored("x", v) for v in values)]
        ids = list(range(len(values)))
        fold.add([Token(index=0, text=str(choice), token_ids=ids, choice=choice, logprobs=logs)])
    answer = fold.answer("job-1", Done(finish_reason="stop"))
    asked = CompletionRequest(model="bee", prompt=["a", "b"], best_of=3, n=2)
    best = completions.best(answer, asked)
    assert [(c.index, c.text) for c in best.choices] == [(0, "1"), (1, "0"), (2, "4"), (3, "3")]
    assert all(c.logprobs is None for c in best.choices), "nobody asked for them"
    asked.logprobs = 0
    assert completions.best(answer, asked).choices[0].logprobs is not None
    asked.best_of = 2
    assert completions.best(answer, asked) is answer


def test_what_was_thought_is_told_apart() -> None:
    thought = Token(index=0, text="", token_ids=[1], reasoning="hm")
    said = Token(index=1, text="yes", token_ids=[2])
    done = Done(finish_reason="stop", usage=Usage(3, 2, 1, 1))
    fold = Fold()
    fold.add([thought, said])
    whole = chat.completion(fold.answer("job-1", done), "bee", 7)
    assert whole["choices"][0]["message"]["reasoning_content"] == "hm"
    assert whole["choices"][0]["message"]["content"] == "yes"
    assert whole["usage"]["completion_tokens_details"] == {"reasoning_tokens": 1}
    assert whole["usage"]["prompt_tokens_details"] == {"cached_tokens": 1}
    chunks = chat.ChatChunks("job-1", "bee", 7, 1, False)
    deltas = [c["delta"] for f in frames(chunks(0, [thought, said, done])) for c in f["choices"]]
    assert [d.get("reasoning_content") for d in deltas] == [None, "hm", None, None]
    assert [d.get("content") for d in deltas] == ["", None, "yes", None]
