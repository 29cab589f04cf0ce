"""OpenAI's requests as rbee's, and what is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rbee.contracts.operations import Infer
from rbee.errors import Invalid
from rbee.queen.inference import check
from rbee.queen.openai import translate
from rbee.queen.openai.requests import ChatRequest, CompletionRequest
from rbee.wire.codec import decode


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
        ("function_call", "auto"),
        ("reasoning_effort", "utmost"),
        ("verbosity", "low"),
        ("web_search_options", {}),
        ("moderation", {}),
        ("max_tokens", 0),
        ("max_completion_tokens", 0),
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


def test_completions_echo_fill_in_and_choose() -> None:
    (echoed,) = completion_infers("a", echo=True, max_tokens=0, logprobs=2)
    assert (echoed.echo, echoed.max_tokens, echoed.logprobs) == (True, 0, 2)
    check(echoed)
    assert completion_infers("a", suffix="x")[0].suffix == "x"
    (best,) = completion_infers("a", best_of=3, n=2)
    assert (best.n, best.logprobs) == (3, 0)
    assert completion_infers("a", best_of=2, n=2)[0].logprobs is None
    bads: list[tuple[str, dict[str, Any]]] = [
        ("max_tokens", {"max_tokens": 0}),
        ("suffix", {"suffix": "x", "echo": True}),
        ("best_of", {"best_of": 2, "n": 3}),
        ("best_of", {"best_of": 2, "stream": True}),
        ("regex", {"grammar": "x", "regex": "y"}),
        ("chat_template_kwargs", {"chat_template_kwargs": {"a": 1}}),
    ]
    for field, fields in bads:
        with pytest.raises(Invalid) as caught:
            check(completion_infers("a", **fields)[0])
        assert caught.value.path == f"$.{field}"
    with pytest.raises(Invalid):
        completion_infers(["a", "b"], n=100)
