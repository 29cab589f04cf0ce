"""Every request that makes no sense is refused before the engine hears of it, with its reason."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from llguidance import LLTokenizer

from rbee.contracts.chat import FunctionSpec, Message, NamedFunction, NamedTool, Tool
from rbee.contracts.operations import Infer
from rbee.contracts.worker_api import Tokenize
from rbee.errors import BadRequest, Invalid, PromptTooLong, RbeeError
from rbee.worker.engine.sampling import Sampling
from rbee.worker.prepare import LoadedModel
from tests.worker.echo import EchoBackend, echo_model

CONTEXT = 100
CHAT = [Message("user", "Hi")]
TOOL = Tool(FunctionSpec("f"))


@pytest.fixture
def model() -> LoadedModel:
    tokenizer = LLTokenizer("byte")
    return echo_model(EchoBackend(context=CONTEXT), guide=lambda: tokenizer)


def infer(**fields: Any) -> Infer:
    return Infer(model="echo", **fields)


REFUSED: list[tuple[str, dict[str, Any], type[RbeeError], str, str]] = [
    ("neither", {}, Invalid, "either messages", "$.prompt"),
    ("both", {"prompt": "a", "messages": CHAT}, Invalid, "either messages", "$.prompt"),
    ("empty prompt", {"prompt": ""}, BadRequest, "empty", "$.prompt"),
    ("id past the end", {"prompt": [1, 257]}, Invalid, "257 is outside .* 257", "$.prompt"),
    ("bias past the end", {"logit_bias": {"257": 1.0}}, Invalid, "257", "$.logit_bias"),
    ("call without tools", {"tool_choice": "required"}, Invalid, "needs tools", "$.tool_choice"),
    (
        "call of an unknown tool",
        {"tools": [TOOL], "tool_choice": NamedTool(NamedFunction("g"))},
        Invalid,
        "'g', which is not among",
        "$.tool_choice",
    ),
    ("two constraints", {"json_schema": {}, "grammar": "root ::= [a-z]"}, Invalid, "exclude", ""),
    (
        "schema and forced tool",
        {"json_schema": {}, "tools": [TOOL], "tool_choice": "required"},
        Invalid,
        "exclude",
        "",
    ),
    ("unknown type", {"json_schema": {"type": "nope"}}, BadRequest, "nope", "$.json_schema"),
    ("false schema", {"json_schema": False}, BadRequest, "Unsatisfiable", "$.json_schema"),
    ("dangling $ref", {"json_schema": {"$ref": "#/x"}}, BadRequest, "'/x'", "$.json_schema"),
    ("no grammar", {"grammar": "what?"}, BadRequest, "Expected", "$.grammar"),
    ("empty grammar", {"grammar": ""}, BadRequest, "root", "$.grammar"),
    ("unknown rule", {"grammar": "root ::= other"}, BadRequest, "'other'", "$.grammar"),
    ("unclosed", {"grammar": "root ::= ("}, BadRequest, "line 1", "$.grammar"),
    ("deep grammar", {"grammar": "root ::= " + "(" * 9_999}, BadRequest, "recursion", "$.grammar"),
    (
        "bad tool schema",
        {"tools": [Tool(FunctionSpec("f", parameters={"type": "x"}))], "tool_choice": "required"},
        BadRequest,
        "Invalid type: x",
        "$.tools",
    ),
]


@pytest.mark.parametrize(
    ("fields", "kind", "says", "path"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_what_makes_no_sense_is_refused(
    model: LoadedModel, fields: dict[str, Any], kind: type[RbeeError], says: str, path: str
) -> None:
    about_the_prompt = not fields or "prompt" in fields
    with pytest.raises(kind, match=says) as caught:
        model.prepare(infer(**fields if about_the_prompt else {"prompt": "a", **fields}))
    assert type(caught.value) is kind and caught.value.path == path


@pytest.mark.parametrize("size", [CONTEXT, CONTEXT + 1, 5_000])
def test_a_prompt_longer_than_the_context_names_both_numbers(model: LoadedModel, size: int) -> None:
    with pytest.raises(PromptTooLong, match=f"{size} tokens.* {CONTEXT},") as caught:
        model.prepare(infer(prompt="x" * size))
    assert caught.value.path == "$.prompt" and caught.value.hint
    with pytest.raises(PromptTooLong) as caught:
        model.prepare(infer(messages=[Message("user", "x" * size)]))
    assert caught.value.path == "$.messages"


def test_the_answer_takes_what_room_the_context_leaves(model: LoadedModel) -> None:
    assert model.prepare(infer(prompt="x" * (CONTEXT - 1))).limit == 1
    assert model.prepare(infer(prompt="x" * 10)).limit == CONTEXT - 10
    assert model.prepare(infer(prompt="x" * 10, max_tokens=7)).limit == 7
    assert model.prepare(infer(prompt="x" * 10, max_tokens=1_000)).limit == CONTEXT - 10


def test_a_deep_schema_is_refused_not_a_crash(model: LoadedModel) -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(5_000):
        schema = {"type": "array", "items": schema}
    with pytest.raises(BadRequest, match="recursion"):
        model.prepare(infer(prompt="a", json_schema=schema))


def test_a_backend_that_cannot_constrain_says_so() -> None:
    with pytest.raises(BadRequest, match="cannot constrain"):
        echo_model(EchoBackend()).prepare(infer(prompt="a", json_schema={}))


def test_a_chat_is_rendered_and_a_prompt_is_taken_as_it_stands(model: LoadedModel) -> None:
    asked = model.prepare(infer(messages=CHAT))
    assert bytes(asked.prompt) == b"<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert model.prepare(infer(prompt="Hi")).prompt == [72, 105]
    assert model.prepare(infer(prompt=[0, 256])).prompt == [0, 256]


def test_a_begin_token_that_the_template_wrote_is_not_added_again() -> None:
    backend = EchoBackend()
    seen: list[bool] = []

    class Noting(type(backend.vocabulary)):  # type: ignore[misc]
        def tokenize(self, text: str, *, add_special: bool) -> list[int]:
            seen.append(add_special)
            return list(text.encode())

    model = echo_model(backend)
    model.vocabulary = Noting()
    for model.bos in ("", "<|im_start|>", "<s>"):
        model.prepare(infer(messages=CHAT))
    assert seen == [True, False, True]


def test_what_is_left_out_is_the_models_recommendation(model: LoadedModel) -> None:
    model.recommended = Sampling(temperature=0.6, top_k=20, top_p=0.9, min_p=0.1)
    kept = model.sampling(infer(prompt="a", seed=3))
    assert kept == Sampling(0.6, 20, 0.9, 0.1, seed=3)
    given = model.sampling(
        infer(
            prompt="a",
            seed=0,
            temperature=0.0,
            top_k=0,
            top_p=0.0,
            min_p=0.0,
            logit_bias={"07": 2.0},
        )
    )
    assert given == Sampling(0.0, 0, 0.0, 0.0, seed=0, bias={7: 2.0})
    assert model.sampling(infer(prompt="a")).seed != model.sampling(infer(prompt="a")).seed


def test_tools_are_looked_for_unless_they_are_switched_off(model: LoadedModel) -> None:
    assert model.prepare(infer(messages=CHAT, tools=[TOOL])).tools
    assert not model.prepare(infer(messages=CHAT, tools=[TOOL], tool_choice="none")).tools
    assert not model.prepare(infer(messages=CHAT)).tools


@pytest.mark.parametrize("fields", [{}, {"text": "a", "messages": CHAT}])
def test_tokenize_wants_text_or_messages(model: LoadedModel, fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        model.tokenize(Tokenize(model="echo", **fields))


def test_detokenize_refuses_ids_outside_the_vocabulary(model: LoadedModel) -> None:
    assert model.detokenize([72, 105, 256]) == "Hi"
    with pytest.raises(Invalid, match="257") as caught:
        model.detokenize([72, 257])
    assert caught.value.path == "$.tokens"


@pytest.mark.parametrize(
    ("inputs", "kind", "path"),
    [
        (["a", ""], BadRequest, "$.input[1]"),
        ([[300]], Invalid, "$.input[0]"),
        (["a", "x" * (CONTEXT + 1)], PromptTooLong, "$.input[1]"),
    ],
)
def test_inputs_of_vectors_are_checked(
    model: LoadedModel, inputs: list[Any], kind: type[RbeeError], path: str
) -> None:
    with pytest.raises(kind) as caught:
        model.embed_inputs(inputs)
    assert caught.value.path == path


def test_nothing_of_a_prompt_reaches_the_log(
    model: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        model.prepare(infer(prompt="a secret"))
    assert "secret" not in caplog.text
