"""What `bee` as it is cannot show, through the official clients and real workers: filling a gap,
thinking, adapters. The models are `bee` with another header, made for the purpose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from gguf import Keys

from rbee import bee
from tests.bee import known_answers as known
from tests.http import ask
from tests.system.stack import Stack, stack
from tests.worker import random_lora
from tests.worker.test_describe import copied

GAP, ADAPTER = "made/up/gap.gguf", "made/up/wild.gguf"
THINKER, OPENED = "made/up/thinker.gguf", "made/up/opened.gguf"
"""One thinks where `bee` would call a tool; the other's template begins a thought by itself."""
MARKS = {"fim_pre": 7, "fim_suf": 8, "fim_mid": 9}
OPENS = """{%- for message in messages -%}
    {{- '<|im_start|>' + message.role + '\n' -}}
    {%- if message.reasoning_content -%}{{- '<think>' + message.reasoning_content + '</think>' -}}{%- endif -%}
    {{- message.content + '<|im_end|>\n' -}}
{%- endfor -%}
{{- '<|im_start|>assistant\n' -}}
{%- if enable_thinking is not defined or enable_thinking -%}{{- '<think>\n' -}}{%- endif -%}
"""  # noqa: E501
GREEDY = {"temperature": 0}
"""Nobody recommends it for a copy of `bee`; and Anthropic's client has no argument for it."""
HELLO: Any = [{"role": "user", "content": "Hello, who are you?"}]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("made")
    models = home / "models"
    (models / GAP).parent.mkdir(parents=True)
    copied(models / GAP, {f"tokenizer.ggml.{name}_token_id": at for name, at in MARKS.items()})
    template = Keys.Tokenizer.CHAT_TEMPLATE
    thinks = bee.path().with_name("chat_template.jinja").read_text("utf-8")
    thinks = thinks.replace("tool_call>", "think>")
    spans = {"<tool_call>": "<think>", "</tool_call>": "</think>"}
    copied(models / THINKER, {template: thinks}, (template,), spans)
    copied(models / OPENED, {template: OPENS}, (template,))
    random_lora.write(models / ADAPTER, bee.path())
    with stack(home) as made:
        yield made


@pytest.fixture(scope="module")
def client(fleet: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{fleet.queen}/v1", api_key="none", max_retries=0, timeout=60
    ) as made:
        yield made


@pytest.fixture(scope="module")
def theirs(fleet: Stack) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=fleet.queen, api_key="none", max_retries=0, timeout=60
    ) as made:
        yield made


def test_a_gap_is_filled_between_its_marks(client: openai.OpenAI, fleet: Stack) -> None:
    def ids(text: str) -> list[int]:
        body = {"model": GAP, "text": text, "add_special": False}
        found: list[int] = ask("POST", f"{fleet.queen}/tokenize", body).json()["tokens"]
        return found

    before, behind = "The capital of France", "Paris."
    fields: dict[str, Any] = {"model": GAP, "temperature": 0, "max_tokens": 8}
    made = client.completions.create(prompt=before, suffix=behind, **fields)
    prefix, suffix, middle = MARKS.values()
    spelled = [prefix, *ids(before), suffix, *ids(behind), middle]
    assert made.usage is not None and made.usage.prompt_tokens == len(spelled)
    assert made.choices[0].text
    assert client.completions.create(prompt=spelled, **fields).choices[0].text == (
        made.choices[0].text
    )


def test_thoughts_are_no_content(client: openai.OpenAI, theirs: anthropic.Anthropic) -> None:
    """It ends its thought itself, and is made to go on."""
    thought = '{"name": "get_weather", "arguments": {"city": "Lisbon"}}'
    function = dict(known.WEATHER["function"])
    tool: Any = known.WEATHER
    newer_tool: Any = {"type": "function", **function}
    their_tool: Any = {"input_schema": function.pop("parameters"), **function}
    turns: Any = known.TOOL_CALL.messages
    on: dict[str, Any] = {"extra_body": {**GREEDY, "ignore_eos": True}}
    asked: dict[str, Any] = {"model": THINKER, "messages": turns, "max_tokens": 40, **on}
    whole = client.chat.completions.create(**asked, tools=[tool])
    message: Any = whole.choices[0].message
    assert message.reasoning_content == thought
    assert message.content and not message.tool_calls
    assert whole.usage is not None and whole.usage.completion_tokens_details is not None
    assert 10 < (whole.usage.completion_tokens_details.reasoning_tokens or 0) < 30
    told, said = "", ""
    for part in client.chat.completions.create(**asked, tools=[tool], stream=True):
        delta: Any = part.choices[0].delta
        told += getattr(delta, "reasoning_content", None) or ""
        said += delta.content or ""
    assert (told, said) == (thought, message.content)
    newer = client.responses.create(
        model=THINKER, input=turns, tools=[newer_tool], max_output_tokens=40, **on
    )
    assert [item.type for item in newer.output] == ["reasoning", "message"]
    assert newer.output_text == message.content
    first, second = theirs.messages.create(**asked, tools=[their_tool]).content
    assert first.type == "thinking" and first.thinking == thought
    assert second.type == "text" and second.text == message.content


def test_who_asks_for_no_thoughts_gets_none(
    client: openai.OpenAI, theirs: anthropic.Anthropic
) -> None:
    on: dict[str, Any] = {"extra_body": GREEDY}
    asked: dict[str, Any] = {"model": OPENED, "messages": HELLO, "max_tokens": 12, **on}

    def message(**more: Any) -> Any:
        return client.chat.completions.create(**asked, **more).choices[0].message

    before, after = message(), message(reasoning_effort="none")
    assert before.reasoning_content and not before.content
    assert after.content and not getattr(after, "reasoning_content", None)
    newer = client.responses.create(
        model=OPENED, input=HELLO, reasoning={"effort": "none"}, max_output_tokens=12, **on
    )
    assert newer.output_text == after.content
    [block] = theirs.messages.create(**asked, thinking={"type": "disabled"}).content
    assert block.type == "text" and block.text == after.content
    formed = message(response_format={"type": "json_object"})
    assert formed.content.startswith("{"), "what must have a form is not preceded by thoughts"


def test_an_adapter_is_chosen_by_the_request(
    client: openai.OpenAI, theirs: anthropic.Anthropic, fleet: Stack
) -> None:
    fleet.client.spawn("bee", lora={"wild": ADAPTER})
    asked: dict[str, Any] = {"model": "bee", "messages": HELLO, "max_tokens": 12}
    wild: dict[str, Any] = {"extra_body": {"lora": "wild"}}

    def said(**more: Any) -> str:
        return client.chat.completions.create(**asked, **more).choices[0].message.content or ""

    changed = said(**wild)
    assert said() == said() != changed == said(**wild)
    newer = client.responses.create(model="bee", input=HELLO, max_output_tokens=12, **wild)
    assert newer.output_text == changed
    [block] = theirs.messages.create(**asked, **wild).content
    assert block.type == "text" and block.text == changed


def test_scores_are_streamed_with_their_tokens(client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {"model": "bee", "max_tokens": 8, "temperature": 0}
    chat: dict[str, Any] = {**fields, "messages": HELLO, "logprobs": True, "top_logprobs": 2}
    whole = client.chat.completions.create(**chat).choices[0].logprobs
    assert whole is not None and whole.content is not None
    parts = [part.choices[0] for part in client.chat.completions.create(**chat, stream=True)]
    told = [one for part in parts if part.logprobs for one in part.logprobs.content or ()]
    assert [one.token for one in told] == [one.token for one in whole.content]
    assert all(len(one.top_logprobs) == 2 for one in told)
    text: dict[str, Any] = {**fields, "prompt": "The capital of France is", "logprobs": 2}
    older = client.completions.create(**text).choices[0].logprobs
    assert older is not None
    streamed = [part.choices[0].logprobs for part in client.completions.create(**text, stream=True)]
    found = [one for one in streamed if one is not None]
    assert [token for one in found for token in one.tokens or ()] == older.tokens
    assert [place for one in found for place in one.text_offset or ()] == older.text_offset
