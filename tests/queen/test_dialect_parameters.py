"""No parameter is dropped in silence: every field of every request either changes what is asked of
a worker, or is refused by name, or stands in the list of those without effect, which the page for
users repeats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rbee.contracts.operations import Infer
from rbee.errors import Invalid
from rbee.queen.inference import check
from rbee.queen.openai import messages, responses, translate
from rbee.queen.openai.messages_requests import CountRequest, MessagesRequest
from rbee.queen.openai.requests import ChatRequest, CompletionRequest
from rbee.queen.openai.responses_requests import ResponsesRequest
from rbee.queen.openai.vector_requests import EmbeddingRequest, RerankRequest
from rbee.queen.openai.wishes import Ignored
from rbee.wire.codec import decode

DOC = Path(__file__).parents[2] / "docs" / "openai.md"
TOOL = {"type": "function", "function": {"name": "f"}}
NEWER_TOOL = {"type": "function", "name": "f"}
THEIR_TOOL = {"name": "f", "input_schema": {}}
USER = [{"role": "user", "content": "x"}]
ANSWER = "stream_options"
"""It shapes the answer's frames, not what is asked: tested where streams are."""

WISHES: dict[str, Any] = {
    "top_k": 5,
    "min_p": 0.5,
    "typical_p": 0.5,
    "repeat_penalty": 1.5,
    "repeat_last_n": 5,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "dry_multiplier": 0.5,
    "dry_base": 2.0,
    "dry_allowed_length": 3,
    "dry_penalty_last_n": 5,
    "dry_sequence_breakers": ["\n"],
    "xtc_probability": 0.5,
    "xtc_threshold": 0.5,
    "seed": 5,
    "deterministic": True,
    "logit_bias": {"5": 1.0},
    "ignore_eos": True,
    "grammar": 'root ::= "a"',
    "regex": "a+",
    "lora": "mine",
    "cache_salt": "me",
    "hive_id": "here",
    "worker_id": "w",
    "device": "cpu",
    "priority": 5,
    "deadline_ms": 5,
    "temperature": 0.5,
    "top_p": 0.5,
}
TEMPLATE = {"chat_template_kwargs": {"a": 1}}
SCHEMA = {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}}

Case = tuple[type[msgspec.Struct], Callable[[Any], Any], dict[str, Any], dict[str, Any]]
"""A request, what is asked of a worker for it, a plain one, and something for every field."""
CASES: list[Case] = [
    (
        ChatRequest,
        translate.chat,
        {"model": "bee", "messages": USER, "tools": [TOOL]},
        {
            **WISHES,
            **TEMPLATE,
            "model": "other",
            "messages": [{"role": "user", "content": "y"}],
            "max_tokens": 5,
            "max_completion_tokens": 5,
            "n": 2,
            "stop": "a",
            "stream": True,
            "stream_options": {"include_usage": True},
            "logprobs": True,
            "top_logprobs": 2,
            "response_format": SCHEMA,
            "reasoning_effort": "low",
            "tools": [TOOL, TOOL],
            "tool_choice": "none",
            "parallel_tool_calls": False,
            "modalities": ["text"],
        },
    ),
    (
        CompletionRequest,
        translate.completions,
        {"model": "bee", "prompt": "x"},
        {
            **WISHES,
            **TEMPLATE,
            "model": "other",
            "prompt": "y",
            "max_tokens": 5,
            "n": 2,
            "stop": ["a"],
            "stream": True,
            "stream_options": {"include_usage": True},
            "logprobs": 2,
            "best_of": 2,
            "echo": True,
            "suffix": "z",
            "json_schema": {"type": "array"},
        },
    ),
    (
        ResponsesRequest,
        responses.infer_of,
        {"model": "bee", "input": "x", "tools": [NEWER_TOOL]},
        {
            **WISHES,
            **TEMPLATE,
            "model": "other",
            "input": "y",
            "instructions": "be",
            "max_output_tokens": 5,
            "top_logprobs": 2,
            "stop": "a",
            "stream": True,
            "stream_options": {"include_obfuscation": True},
            "include": ["message.output_text.logprobs"],
            "truncation": "disabled",
            "text": {"format": {"type": "json_object"}},
            "reasoning": {"effort": "low"},
            "tools": [NEWER_TOOL, NEWER_TOOL],
            "tool_choice": "none",
            "parallel_tool_calls": False,
            "previous_response_id": "resp_1",
            "conversation": "conv_1",
            "prompt": {"id": "p"},
            "background": True,
        },
    ),
    (
        MessagesRequest,
        messages.infer_of,
        {"model": "bee", "messages": USER, "max_tokens": 9, "tools": [THEIR_TOOL]},
        {
            **WISHES,
            **TEMPLATE,
            "model": "other",
            "messages": [{"role": "user", "content": "y"}],
            "max_tokens": 5,
            "system": "be",
            "tools": [THEIR_TOOL, THEIR_TOOL],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
            "thinking": {"type": "disabled"},
            "output_config": {"effort": "low"},
            "stop_sequences": ["a"],
            "stream": True,
            "cache_control": {"type": "ephemeral"},
            "context_management": {"edits": []},
        },
    ),
    (
        CountRequest,
        messages.question_of,
        {"model": "bee", "messages": USER, "tools": [THEIR_TOOL]},
        {
            "model": "other",
            "messages": [{"role": "user", "content": "y"}],
            "system": "be",
            "tools": [THEIR_TOOL, THEIR_TOOL],
            "tool_choice": {"type": "none"},
            "thinking": {"type": "disabled"},
            "output_config": {"effort": "low"},
            "cache_control": {"type": "ephemeral"},
            "context_management": {"edits": []},
        },
    ),
]
FIELDS = [
    pytest.param(*case, field, id=f"{case[0].__name__}-{field}")
    for case in CASES
    for field in case[0].__struct_fields__
]


def ignored_by(kind: type[msgspec.Struct]) -> set[str]:
    own = set(getattr(kind, "IGNORED", ()))
    return own | set(Ignored.__struct_fields__) if issubclass(kind, Ignored) else own


def asked_with(kind: Any, made: Callable[[Any], Any], fields: dict[str, Any]) -> Any:
    return made(decode(json.dumps(fields).encode(), kind))


@pytest.mark.parametrize(("kind", "made", "plain", "samples", "field"), FIELDS)
def test_a_field_counts_or_is_refused_or_is_listed(
    kind: Any, made: Any, plain: dict[str, Any], samples: dict[str, Any], field: str
) -> None:
    ignored = field in ignored_by(kind)
    value = samples.get(field, {"any": "thing"} if ignored else None)
    assert value is not None, "a new field wants a sample here"
    needed = {"logprobs": True} if (kind, field) == (ChatRequest, "top_logprobs") else {}
    before = asked_with(kind, made, {**plain, **needed})
    try:
        after = asked_with(kind, made, {**plain, **needed, field: value})
    except Invalid as exc:
        assert exc.path == f"$.{field}"
        return
    if field == ANSWER and not ignored:
        return
    assert (after == before) == ignored


@pytest.mark.parametrize(("kind", "made", "plain", "samples"), CASES, ids=lambda c: str(c)[:40])
def test_every_field_may_be_null(kind: Any, made: Any, plain: Any, samples: Any) -> None:
    for field in set(kind.__struct_fields__) - plain.keys():
        assert asked_with(kind, made, {**plain, field: None}) == asked_with(kind, made, plain), (
            field
        )


def test_what_infer_offers_openais_clients_can_ask_for() -> None:
    asked = {*ChatRequest.__struct_fields__, *CompletionRequest.__struct_fields__}
    assert set(Infer.__struct_fields__) <= asked


def test_the_page_lists_what_is_ignored() -> None:
    text = DOC.read_text("utf-8")
    section = text.split("## Accepted, and without effect")[1].split("\n## ")[0]
    kinds: list[type[msgspec.Struct]] = [EmbeddingRequest, RerankRequest]
    for kind in [*kinds, *(case[0] for case in CASES)]:
        for field in ignored_by(kind):
            assert f"`{field}`" in section, f"{kind.__name__}.{field}"


def test_the_page_lists_what_goes_beyond() -> None:
    text = DOC.read_text("utf-8")
    section = text.split("## Beyond OpenAI's fields")[1].split("\n## ")[0]
    for field in {*WISHES, *TEMPLATE} - {"temperature", "top_p"}:
        assert f"`{field}`" in section, field


@pytest.mark.parametrize("first", ["grammar", "regex"])
def test_the_output_has_one_form(first: str) -> None:
    fields = {"model": "bee", "messages": USER, "response_format": SCHEMA, first: "a"}
    with pytest.raises(Invalid):
        check(asked_with(ChatRequest, translate.chat, fields))
