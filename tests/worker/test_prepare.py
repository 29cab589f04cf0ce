"""Every request that makes no sense is refused before the engine hears of it, with its reason."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from llguidance import LLTokenizer

from rbee.contracts.chat import (
    FunctionSpec,
    ImagePart,
    ImageUrl,
    Message,
    NamedFunction,
    NamedTool,
    TextPart,
    Tool,
)
from rbee.contracts.operations import Infer
from rbee.contracts.worker_api import ApplyTemplate, Tokenize
from rbee.errors import BadRequest, Invalid, PromptTooLong, RbeeError
from rbee.worker.engine.sampling import Sampling
from rbee.worker.pooled import embed_inputs
from rbee.worker.prepare import LoadedModel
from rbee.worker.reading import Reading
from rbee.worker.reasoning import marks_of
from rbee.worker.template import ChatTemplate
from rbee.worker.tools.forms import HERMES, LLAMA3, MISTRAL, MISTRAL_ARGS, ToolForm
from tests.worker.echo import EchoBackend, EchoVocabulary, echo_model

CONTEXT = 100
CHAT = [Message("user", "Hi")]
TOOL = Tool(FunctionSpec("f"))
PICTURE = ImagePart(ImageUrl("data:image/png;base64,"))
SEEN = [Message("user", "Hi"), Message("user", [TextPart("What is this?"), PICTURE])]
IN_CHAT = "$.messages[1].content[1]"
THINK = "{{ messages[-1].content }}|{{ '<think>\\n' }}"


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
    ("id past the end", {"prompt": [1, 513]}, Invalid, "513 is outside .* 513", "$.prompt"),
    ("bias past the end", {"logit_bias": {"513": 1.0}}, Invalid, "513", "$.logit_bias"),
    ("gap in a chat", {"messages": CHAT, "suffix": "b"}, Invalid, "with a prompt", "$.suffix"),
    ("gap in no code", {"prompt": "a", "suffix": "b"}, BadRequest, "middle", "$.suffix"),
    (
        "values without a template",
        {"chat_template_kwargs": {"x": 1}},
        Invalid,
        "taken as it stands",
        "$.chat_template_kwargs",
    ),
    ("nothing to say", {"max_tokens": 0}, Invalid, "no answer", "$.max_tokens"),
    ("endless form", {"regex": "a", "ignore_eos": True}, Invalid, "ends", "$.ignore_eos"),
    ("unknown adapter", {"lora": "y"}, BadRequest, "'y'; it was started with: one, two", "$.lora"),
    ("picture", {"messages": SEEN}, BadRequest, "cannot see", IN_CHAT),
    ("call without tools", {"tool_choice": "required"}, Invalid, "needs tools", "$.tool_choice"),
    (
        "call of an unknown tool",
        {"tools": [TOOL], "tool_choice": NamedTool(NamedFunction("g"))},
        Invalid,
        "'g', which is not among",
        "$.tool_choice",
    ),
    ("two forms", {"json_schema": {}, "grammar": "root ::= [a]"}, Invalid, "exclude", "$.grammar"),
    ("two more", {"regex": "a", "grammar": "root ::= [a-z]"}, Invalid, "exclude", "$.regex"),
    ("no regex", {"regex": "("}, BadRequest, "regex", "$.regex"),
    (
        "schema and forced tool",
        {"json_schema": {}, "tools": [TOOL], "tool_choice": "required"},
        Invalid,
        "json_schema and tool_choice exclude",
        "$.tool_choice",
    ),
    ("unknown type", {"json_schema": {"type": "nope"}}, BadRequest, "nope", "$.json_schema"),
    ("false schema", {"json_schema": False}, BadRequest, "nothing", "$.json_schema"),
    ("dangling $ref", {"json_schema": {"$ref": "#/x"}}, BadRequest, "'/x'", "$.json_schema"),
    ("no grammar", {"grammar": "what?"}, BadRequest, "Expected", "$.grammar"),
    ("empty grammar", {"grammar": ""}, BadRequest, "root", "$.grammar"),
    ("unknown rule", {"grammar": "root ::= other"}, BadRequest, "'other'", "$.grammar"),
    ("unclosed", {"grammar": "root ::= ("}, BadRequest, "line 1", "$.grammar"),
    ("deep grammar", {"grammar": "root ::= " + "(" * 9_999}, BadRequest, "too deep", "$.grammar"),
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
    model.adapters = ("one", "two")
    about_the_prompt = not fields or "prompt" in fields or "messages" in fields
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
    with pytest.raises(BadRequest, match="deep"):
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
    looks = model.prepare(infer(messages=CHAT, tools=[TOOL], parallel_tool_calls=False)).reading
    assert looks.form == model.form and looks.offered == {"f"} and not looks.several
    switched_off = infer(messages=CHAT, tools=[TOOL], tool_choice="none")
    for asked in (switched_off, infer(messages=CHAT)):
        assert model.prepare(asked).reading.form is None


@pytest.mark.parametrize("form", [HERMES, LLAMA3, MISTRAL, MISTRAL_ARGS])
def test_a_call_is_forced_in_the_models_own_form(model: LoadedModel, form: ToolForm) -> None:
    model.form = form
    for choice in ("required", NamedTool(NamedFunction("f"))):
        asked = infer(messages=CHAT, tools=[TOOL], tool_choice=choice)
        assert model.prepare(asked).constraint is not None
    strict = Tool(FunctionSpec("f", strict=True))
    assert model.prepare(infer(messages=CHAT, tools=[strict])).constraint is not None
    assert model.prepare(infer(messages=CHAT, tools=[TOOL])).constraint is None


def test_reasoning_begins_where_the_template_leaves_off(model: LoadedModel) -> None:
    model.template, model.marks = ChatTemplate(THINK, "", ""), marks_of(THINK)
    free = model.prepare(infer(messages=CHAT))
    assert bytes(free.prompt) == b"Hi|<think>\n"
    assert free.reading.marks == model.marks and free.reading.thinking


@pytest.mark.parametrize(
    "fields", [{"json_schema": {}}, {"regex": "a+"}, {"tools": [TOOL], "tool_choice": "required"}]
)
def test_an_answer_of_a_given_form_is_not_thought_about(
    model: LoadedModel, fields: dict[str, Any]
) -> None:
    model.template, model.marks = ChatTemplate(THINK, "", ""), marks_of(THINK)
    asked = model.prepare(infer(messages=CHAT, **fields))
    assert bytes(asked.prompt) == b"Hi|<think>\n\n</think>\n\n"
    assert asked.reading.marks is None and not asked.reading.thinking


def test_a_completion_is_not_searched_for_thoughts(model: LoadedModel) -> None:
    model.marks = marks_of(THINK)
    assert model.prepare(infer(prompt="a <think>")).reading == Reading()


def test_a_gap_stands_between_its_marks(model: LoadedModel) -> None:
    vocabulary = EchoVocabulary()
    vocabulary.fim = (300, 301, 302)
    model.vocabulary = vocabulary
    for before in ("ab", [97, 98]):
        asked = model.prepare(infer(prompt=before, suffix="c"))
        assert asked.prompt == [300, 97, 98, 301, 99, 302] and asked.text == "ab"
    assert model.prepare(infer(prompt="", suffix="")).prompt == [300, 301, 302]


def test_a_text_may_be_scored_without_an_answer(model: LoadedModel) -> None:
    asked = model.prepare(infer(prompt="x" * CONTEXT, max_tokens=0, echo=True))
    assert (asked.limit, asked.echo, asked.text) == (0, True, "x" * CONTEXT)
    with pytest.raises(PromptTooLong):
        model.prepare(infer(prompt="x" * (CONTEXT + 1), max_tokens=0, echo=True))
    asked = model.prepare(infer(messages=CHAT, echo=True, ignore_eos=True, deterministic=True))
    assert asked.text == bytes(asked.prompt).decode() and asked.limit > 0
    assert asked.ignore_eos and asked.deterministic


def test_namespaces_are_apart(model: LoadedModel) -> None:
    model.adapters = ("a", "b")
    salts, adapters = [None, "a", "/", "a/", "b/a"], [None, "a", "b"]
    made = [
        model.prepare(infer(prompt="x", cache_salt=salt, lora=adapter))
        for salt in salts
        for adapter in adapters
    ]
    assert len({asked.namespace for asked in made}) == len(made)
    assert [asked.adapter for asked in made[:3]] == ["", "a", "b"]


def test_a_model_of_vectors_does_not_generate(model: LoadedModel) -> None:
    model.generates = False
    with pytest.raises(BadRequest, match="vectors") as caught:
        model.prepare(infer(prompt="a"))
    assert caught.value.path == "$.model"


def test_a_template_is_applied_with_what_the_request_adds(model: LoadedModel) -> None:
    model.template = ChatTemplate("{{ messages[0].content }}{{ mood }}", "", "")
    asked = ApplyTemplate(messages=CHAT, chat_template_kwargs={"mood": "!"})
    assert model.apply_template(asked) == "Hi!"
    chat = model.prepare(infer(messages=CHAT, chat_template_kwargs={"mood": "?"}))
    assert bytes(chat.prompt) == b"Hi?"


@pytest.mark.parametrize("fields", [{}, {"text": "a", "messages": CHAT}])
def test_tokenize_wants_text_or_messages(model: LoadedModel, fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        model.tokenize(Tokenize(model="echo", **fields))


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"text": "a", "tools": [Tool(FunctionSpec("f"))]}, "$.tools"),
        ({"messages": [Message("user", "a")], "add_special": False}, "$.add_special"),
    ],
)
def test_tokenize_drops_nothing_in_silence(
    model: LoadedModel, fields: dict[str, Any], path: str
) -> None:
    with pytest.raises(Invalid) as caught:
        model.tokenize(Tokenize(**fields))
    assert caught.value.path == path


def test_detokenize_refuses_ids_outside_the_vocabulary(model: LoadedModel) -> None:
    assert model.detokenize([72, 105, 256]) == "Hi"
    with pytest.raises(Invalid, match="513") as caught:
        model.detokenize([72, 513])
    assert caught.value.path == "$.tokens"


@pytest.mark.parametrize(
    ("inputs", "kind", "path"),
    [
        (["a", ""], BadRequest, "$.input[1]"),
        ([[9_999]], Invalid, "$.input[0]"),
        (["a", "x" * (CONTEXT + 1)], PromptTooLong, "$.input[1]"),
    ],
)
def test_inputs_of_vectors_are_checked(
    model: LoadedModel, inputs: list[Any], kind: type[RbeeError], path: str
) -> None:
    with pytest.raises(kind) as caught:
        embed_inputs(model, inputs)
    assert caught.value.path == path


def test_nothing_of_a_prompt_reaches_the_log(
    model: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        model.prepare(infer(prompt="a secret"))
    assert "secret" not in caplog.text
