"""The recipe's pure parts: what the corpus promises, and how an examination judges."""

import json
import random
import re
from collections.abc import Iterator
from importlib.resources import files
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rbee import bee
from rbee.bee.recipe import facts, talk, words
from rbee.bee.recipe.corpus import long_sample, stream, text_of
from rbee.bee.recipe.questions import UNFINISHED, completions, prompts, questions
from rbee.bee.recipe.render import chat, render
from rbee.bee.recipe.shapes import Message
from rbee.bee.recipe.systems import with_system
from rbee.bee.recipe.tables import load
from rbee.bee.recipe.templates import say, sloppy
from rbee.bee.recipe.tools import with_tools
from tests.bee import known_answers

SEEDS = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def template() -> Template:
    """The shipped template as chat frontends compile it."""
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    env.filters["tojson"] = lambda x: json.dumps(x, ensure_ascii=False)
    source = bee.path().with_name("chat_template.jinja").read_text(encoding="utf-8")
    return env.from_string(source.strip())


def tool_conversations(n: int) -> Iterator[tuple[list[Message], list[Message]]]:
    r = random.Random(5)
    return (with_tools(r) for _ in range(n))


@given(SEEDS)
def test_a_seed_gives_the_same_samples_again(seed: int) -> None:
    assert list(islice(stream(seed), 5)) == list(islice(stream(seed), 5))


def test_another_seed_gives_other_samples() -> None:
    assert list(islice(stream(1), 20)) != list(islice(stream(2), 20))


def test_every_sample_teaches_something_and_ends_where_a_turn_ends() -> None:
    for sample in islice(stream(3), 2000):
        assert any(learn and text for text, learn in sample)
        assert text_of(sample).endswith(("<|im_end|>\n", "<|endoftext|>"))


def test_a_long_sample_is_as_long_as_was_asked() -> None:
    assert len(text_of(long_sample(random.Random(1), 4000))) > 4000


def test_render_writes_what_the_chat_template_writes(template: Template) -> None:
    for tools, messages in tool_conversations(200):
        written = template.render(messages=messages, tools=tools)
        assert text_of(render(messages, tools)) == written


def test_render_and_template_agree_without_tools(template: Template) -> None:
    r = random.Random(6)
    for _ in range(100):
        system, turns = with_system(r)
        for messages in (chat(turns, system), chat(turns)):
            assert text_of(render(messages)) == template.render(messages=messages)


def test_a_tool_call_uses_an_offered_function() -> None:
    for tools, messages in tool_conversations(200):
        offered = [tool["function"]["name"] for tool in tools]
        called = [call for message in messages for call in message.get("tool_calls", [])]
        assert len(set(offered)) == len(offered)
        assert {call["name"] for call in called} <= set(offered)


def test_every_data_file_loads_and_holds_something() -> None:
    folder = files("rbee.bee.recipe").joinpath("data")
    names = [file.name.removesuffix(".toml") for file in folder.iterdir()]
    assert len(names) > 10
    assert all(load(name) for name in names)


def test_the_word_lists_fit_their_use() -> None:
    assert all(words.CAPITALS.values())
    assert len(words.DAYS) == 7
    assert len(words.MONTHS) == len(words.MONTH_DAYS) == 12
    assert words.NUMBERS[10] == "ten"
    assert all(len(items) >= 8 for items in words.LISTS.values())
    # A key or a function name is made of a word: it may hold no space.
    assert not [word for word in words.WORDS if " " in word]


@given(SEEDS)
def test_held_out_pairs_are_never_trained_on(seed: int) -> None:
    _, short, long = facts.arithmetic(random.Random(seed))
    told = re.fullmatch(r"(\d+) (?:plus|minus|times) (\d+) is (-?\d+)\.", long)
    assert told is not None
    assert told[3] == short
    assert not facts.held_out(int(told[1]), int(told[2]))


def test_a_template_picks_inside_out_and_fills_its_slots() -> None:
    said = {say(random.Random(seed), "{a|b{c|$d}} $f", d=1, f="{x|y}") for seed in range(40)}
    assert said == {"a {x|y}", "bc {x|y}", "b1 {x|y}"}


def test_a_template_with_an_unfilled_slot_is_refused() -> None:
    with pytest.raises(KeyError):
        say(random.Random(0), "What is $t?")


@given(SEEDS)
def test_a_sloppy_question_still_asks_the_same(seed: int) -> None:
    asked = sloppy(random.Random(seed), "What is the capital of France?", chance=1.0)
    assert "what is the capital of france" in asked.lower()


def test_the_examination_has_as_many_questions_as_the_readme_says() -> None:
    readme = bee.path().with_name("README.md").read_text(encoding="utf-8")
    asked = len(questions()) + len(completions())
    assert f"asks {asked} questions" in readme
    assert f"of {len(prompts())} prompts" in readme
    for skill in {question.skill for question in questions()}:
        count = sum(question.skill == skill for question in questions())
        assert re.search(rf"\| {skill} \| \d+ \| {count} \|", readme), skill


def test_an_answer_that_did_not_stop_is_wrong() -> None:
    for question in questions():
        if question.skill == "story":
            story = "Once upon a time " * 20
            assert question.accepts(story)
            assert not question.accepts(story + UNFINISHED)
            assert not question.accepts("Too short.")


def test_a_tool_call_is_judged_letter_by_letter() -> None:
    question = next(question for question in questions() if question.skill == "tool call")
    assert question.accepts(known_answers.TOOL_CALL.text)
    assert not question.accepts(known_answers.TOOL_CALL.text.replace("Lisbon", "Lisbom"))


def test_the_known_answers_are_what_was_taught() -> None:
    taught = {answer for _, answer in talk.SMALL_TALK + talk.RBEE_HELP + talk.CODE}
    assert talk.FALLBACK == known_answers.UNKNOWN
    assert known_answers.GREETING in taught
    assert known_answers.IDENTITY in taught
    from_tables = [answer for answer in known_answers.ANSWERS.values() if answer in taught]
    assert len(from_tables) >= 7
