"""Chat templates: what they see, what they may, and what stops them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from rbee import bee
from rbee.contracts.chat import (
    FunctionSpec,
    Message,
    PastCall,
    PastFunctionCall,
    TextPart,
    Tool,
)
from rbee.errors import BadRequest
from rbee.worker.sandbox import MAX_CHARACTERS
from rbee.worker.template import MAX_EXTRA_BYTES, RENDER_LIMIT_S, ChatTemplate

BEE = bee.path().with_name("chat_template.jinja").read_text("utf-8")
HELLO = [Message("user", "Hello")]
ASKED = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"


def render(
    source: str | None, messages: list[Message] = HELLO, tools: list[Tool] | None = None
) -> str:
    return ChatTemplate(source, "<bos>", "<eos>").render(messages, tools)


@pytest.mark.parametrize("source", [None, "", BEE])
def test_bees_template_and_the_fallback_are_chatml(source: str | None) -> None:
    assert render(source) == ASKED


def test_bees_template_offers_tools_as_json() -> None:
    tool = Tool(FunctionSpec("get_weather", "Weather <now>", {"type": "object"}))
    said = render(BEE, tools=[tool])
    [line] = [line for line in said.split("\n") if line.startswith("{") and "get_weather" in line]
    assert json.loads(line) == {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather <now>",
            "parameters": {"type": "object"},
        },
    }


def test_a_template_sees_the_arguments_of_a_call_as_an_object() -> None:
    call = PastCall("call_1", PastFunctionCall("f", '{"city": "Oslo"}'))
    chat = [
        Message("assistant", None, tool_calls=[call]),
        Message("tool", "5", tool_call_id="call_1"),
    ]
    source = (
        "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.id }} {{ c.function.name }} "
        "{{ c.function.arguments.city }}{% endfor %}{{ m.tool_call_id }}|{% endfor %}"
    )
    assert render(source, chat) == "call_1 f Oslo|call_1|"
    assert '<tool_call>\n{"name": "f", "arguments": {"city": "Oslo"}}\n</tool_call>' in render(
        BEE, chat
    )


def test_a_template_sees_what_was_thought_before() -> None:
    chat = [Message("assistant", "Yes", reasoning_content="hm"), Message("assistant", "No")]
    source = "{% for m in messages %}[{{ m.reasoning_content }}|{{ m.content }}]{% endfor %}"
    assert render(source, chat) == "[hm|Yes][|No]"


@pytest.mark.parametrize(
    "call_id", ["call_0123456789abcdef", "", "a b", "ünïcödé_9", "123456789", "x" * 4_096]
)
def test_mistrals_templates_see_ids_of_nine_letters(call_id: str) -> None:
    call = PastCall(call_id, PastFunctionCall("f", "{}"))
    chat = [Message("assistant", tool_calls=[call]), Message("tool", "5", tool_call_id=call_id)]
    source = "{{ messages[0].tool_calls[0].id }} {{ messages[1].tool_call_id }}"
    assert render(source, chat) == f"{call_id} {call_id}"
    first, second = render(source + "{# [TOOL_CALLS] #}", chat).split(" ")
    assert first == second and len(first) == 9 and first.isascii() and first.isalnum()
    assert first == call_id or call_id != "123456789"


@pytest.mark.parametrize("text", ["{oops", '{"a": "\\ud83d"}'])
def test_arguments_that_are_no_json_or_no_text_stay_as_they_are(text: str) -> None:
    call = PastCall("c", PastFunctionCall("f", text))
    source = "{{ messages[0].tool_calls[0].function.arguments }}"
    assert render(source, [Message("assistant", tool_calls=[call])]) == text


def test_content_in_parts_is_one_text_and_none_is_empty() -> None:
    parts = Message("user", [TextPart("a"), TextPart("b")])
    source = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}"
    assert render(source, [Message("developer", "d"), parts, Message("assistant")]) == (
        "[system:d][user:ab][assistant:]"
    )


def test_the_usual_globals_are_there() -> None:
    source = (
        "{{ bos_token }}{{ eos_token }}{{ add_generation_prompt }}{{ tools is none }}"
        "{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}"
        "{{ {'ü': '<'} | tojson }}{{ strftime_now('%Y') }}"
    )
    assert render(source) == f'<bos><eos>TrueTrue1{{"ü": "<"}}{time.strftime("%Y")}'


def test_a_template_may_refuse_and_its_words_are_told() -> None:
    with pytest.raises(BadRequest, match="roles must alternate") as caught:
        render("{{ raise_exception('roles must alternate') }}")
    assert caught.value.path == "$.messages"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__self__ }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ messages|attr('__class__') }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'x'}) }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
    ],
)
def test_a_template_reaches_nothing_outside(source: str) -> None:
    try:
        said = render(source)
    except BadRequest:
        said = ""
    assert said == ""


@pytest.mark.parametrize(
    "source",
    [
        "{{ nothing.at.all }}",
        "{{ 1 / 0 }}",
        "{{ [][5].x }}",
        "{{ 'a' + 1 }}",
        "{{ '\\ud800' }}",
        "{{ range(10 ** 6) }}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{% for a in 5 %}{% endfor %}",
        "{{ messages | sort(attribute='content.nope.nope') | list | first | int(base='q') }}",
    ],
)
def test_a_template_that_fails_is_the_requests_error(source: str) -> None:
    template = ChatTemplate(source, "", "")
    with pytest.raises(BadRequest):
        template.render(HELLO)


@pytest.mark.parametrize(
    "source",
    [
        "{% if %}",
        "{{ unclosed",
        "{% for a in b %}",
        "{{" + "(" * 2_000 + ")" * 2_000 + "}}",
        "{% for a in b %}" * 30 + "{% endfor %}" * 30,
    ],
)
def test_a_broken_template_is_said_when_a_chat_comes(source: str) -> None:
    template = ChatTemplate(source, "", "")
    with pytest.raises(BadRequest, match="template"):
        template.render(HELLO)


LONG = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize("source", [LONG, "{% set x = namespace(n=0) %}" + LONG])
def test_a_template_that_does_not_end_is_ended(source: str) -> None:
    began = time.monotonic()
    with pytest.raises(BadRequest, match="longer than"):
        render(source)
    assert time.monotonic() - began < RENDER_LIMIT_S + 2


@pytest.mark.parametrize(
    "source",
    [
        "{{ 9 ** (9 ** 9) }}",
        "{{ (messages | length + 7) ** (9 ** 9) }}",
        "{{ 'x' * 10 ** 12 }}",
        "{{ [1] * 10 ** 12 }}",
        "{{ 10 ** 12 * 'x' }}",
        "{{ '%1000000000000d' % 1 }}",
    ],
)
def test_one_expression_can_neither_hang_the_process_nor_fill_its_memory(source: str) -> None:
    """These run inside one C call, where no watchdog can end them."""
    with pytest.raises(BadRequest):
        render(source)


def add(extra: dict[str, Any], source: str = "{{ mood }}{{ thinking is true }}") -> str:
    return ChatTemplate(source, "<bos>", "").render(HELLO, None, extra)


def test_a_request_may_add_values() -> None:
    assert add({"mood": "calm", "thinking": True}) == "calmTrue"
    assert add({"a b": 1, "": 2, "self": 3, "__class__": 4}, "{{ self is defined }}") == "True"


@pytest.mark.parametrize(
    "name",
    [
        *("messages", "tools", "add_generation_prompt", "bos_token", "eos_token"),
        *("raise_exception", "strftime_now", "range", "namespace"),
    ],
)
def test_what_rbee_gives_a_template_cannot_be_replaced(name: str) -> None:
    with pytest.raises(BadRequest, match=name) as caught:
        add({name: "x"})
    assert caught.value.path == "$.chat_template_kwargs"


def deep(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(levels):
        made = {"x": made}
    return made


@pytest.mark.parametrize(
    "extra",
    [
        {"x": "a" * MAX_EXTRA_BYTES},
        {str(number): 1 for number in range(10_000)},
        {"a" * MAX_EXTRA_BYTES: 1},
        deep(100_000),
        {"x": "\ud800"},
    ],
    ids=["long", "many", "long name", "deep", "half a character"],
)
def test_what_is_too_much_is_refused(extra: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        add(extra)
    assert caught.value.path == "$.chat_template_kwargs"
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    "source",
    [
        "{{ '-' * x }}",
        "{{ x ** x }}",
        "{% for a in range(x) %}{% endfor %}",
        "{{ '%*d' % (x, 1) }}",
    ],
)
def test_a_large_number_is_no_bomb(source: str) -> None:
    with pytest.raises(BadRequest):
        add({"x": 10**12}, source)


def test_small_arithmetic_is_allowed() -> None:
    source = "{{ 2 ** 10 }} {{ '-' * 3 }} {{ 6 * 7 }} {{ '%s!' % 'a' }} {{ loop_count or 7 % 4 }}"
    assert render(source) == "1024 --- 42 a! 3"


def test_output_without_end_is_ended() -> None:
    source = "{% for a in range(99999) %}{{ messages[0].content }}{% endfor %}"
    with pytest.raises(BadRequest, match="without end"):
        render(source, [Message("user", "x" * 1_000)])
    assert (
        len(render("{{ messages[0].content }}", [Message("user", "x" * MAX_CHARACTERS)]))
        == MAX_CHARACTERS
    )


def test_a_template_is_usable_again_after_a_failure() -> None:
    template = ChatTemplate("{{ raise_exception('no') if messages | length > 1 }}ok", "", "")
    with pytest.raises(BadRequest):
        template.render(HELLO * 2)
    assert template.render(HELLO) == "ok"


BOMBS = [
    "{{ 'x'|center(400000000) }}",
    "{{ '%400000000d'|format(1) }}",
    "{{ '{:>400000000}'.format(1) }}",
    "{{ '{0:{1}}'.format(1, 400000000) }}",
    "{{ 'x'.ljust(400000000) }}",
    "{{ '1'.zfill(400000000) }}",
    "{{ [1]|batch(300000000, 0)|list|length }}",
    "{{ [1]|slice(300000000)|list|length }}",
    "{{ [[1]]|tojson(indent=400000000) }}",
    "{{ ('x' * 4000000)|replace('x', 'y' * 4000000) }}",
    "{% set n = namespace(a='x') %}{% for i in range(50) %}{% set n.a = n.a + n.a %}{% endfor %}",
    "{% set n = namespace(a='x') %}{% for i in range(50) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
]


@pytest.mark.parametrize("source", BOMBS)
def test_one_call_that_no_watchdog_could_end_is_refused_before(source: str) -> None:
    began = time.monotonic()
    with pytest.raises(BadRequest, match="refuses this chat"):
        ChatTemplate(source, "", "").render([Message(role="user", content="hi")])
    assert time.monotonic() - began < RENDER_LIMIT_S


def test_ordinary_filters_and_formats_work_as_ever() -> None:
    source = (
        "{{ 'x'|center(5) }}|{{ '%05d' % 7 }}|{{ '{:>4}'.format(1) }}|"
        "{{ 'a' ~ messages[0].content ~ 'b' }}|"
        "{{ [1, 2]|tojson(indent=2) }}|{{ 'aa'|replace('a', 'b') }}|{{ range(3)|list }}"
    )
    found = ChatTemplate(source, "", "").render([Message(role="user", content="hi")])
    assert found == "  x  |00007|   1|ahib|[\n  1,\n  2\n]|bb|[0, 1, 2]"
