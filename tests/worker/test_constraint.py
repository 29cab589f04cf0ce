"""What may come next: schemas, grammars and regular expressions that can be used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rbee.worker.engine.constraint import Constraint, of_grammar, of_regex, of_schema
from tests.worker.guides import END, allowed, follows, guide, said, vocabulary, whole

SPECIAL = [
    "<|im_end|>",
    "<tool_call>",
    "<|endoftext|>",
    "a<tool_call>b</tool_call>",
    "<|im_start|>",
]


def schema(given: dict[str, Any] | bool) -> Constraint:
    return of_schema(guide(), given)


@pytest.mark.parametrize("text", SPECIAL)
def test_text_that_spells_a_special_token_is_written_as_text(text: str) -> None:
    for constraint in (
        schema({"enum": [text]}),
        of_grammar(guide(), f'root ::= "\\"{text}\\""'),
        of_grammar(guide(), f'start: "\\"{text}\\""'),
        of_regex(guide(), '"' + text.replace("|", r"\|") + '"'),
    ):
        tokens = []
        while not constraint.complete:
            tokens.append(allowed(constraint)[0])
            constraint.accept(tokens[-1])
        assert constraint.failure == ""
        assert said(tokens) == f'"{text}"'
        assert not any(guide().is_special_token(token) for token in tokens)


def test_a_special_token_can_be_demanded_on_purpose() -> None:
    constraint = of_grammar(guide(), "start: <tool_call> /[0-9]+/ <[4]>")
    assert allowed(constraint) == [3]
    assert whole(constraint, 3, "12", 4)


def test_free_strings_hold_no_special_token() -> None:
    constraint = schema({"type": "string"})
    assert follows(constraint, '"a')
    assert not any(guide().is_special_token(token) for token in allowed(constraint))


@pytest.mark.parametrize(
    "text", ["", "a", " a b", "<tool_call>", "<<tool_call>>", "é<|im_end|>ü\n"]
)
def test_the_guide_cuts_text_into_tokens_that_spell_it(text: str) -> None:
    tokens = guide().tokenize_str(text)
    assert said(tokens) == text
    assert not any(guide().is_special_token(token) for token in tokens)


def test_an_answer_may_end_with_any_of_the_models_ends() -> None:
    constraint = of_regex(guide(), "a*")
    ends = {token for token in allowed(constraint) if vocabulary().is_end(token)}
    assert ends == {0, END}
    for token in ends:
        ended = constraint.fresh()
        ended.accept(token)
        assert ended.complete and not ended.failure


def test_what_is_forbidden_is_impossible_and_the_rest_untouched() -> None:
    row = np.arange(vocabulary().size + 7, dtype=np.float32)
    constraint = of_regex(guide(), "(true|false)")
    constraint.apply(row)
    kept = np.flatnonzero(np.isfinite(row))
    assert 0 < len(kept) < 10 and (row[kept] == kept).all()
    assert all(
        "true".startswith(said([int(t)])) or "false".startswith(said([int(t)])) for t in kept
    )


def test_a_token_that_does_not_fit_is_a_failure_with_a_reason() -> None:
    constraint = of_regex(guide(), "[0-9]+")
    constraint.accept(guide().tokenize_str("x")[0])
    assert constraint.complete
    assert constraint.failure == "the text does not follow the grammar"


def test_a_copy_goes_on_alone() -> None:
    constraint = schema({"enum": ["one", "two"]})
    copy = constraint.fresh()
    assert whole(constraint, '"one"') and not copy.complete
    assert whole(copy, '"two"')


def test_white_space_in_json_is_bounded() -> None:
    given = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    for text in ('{"a":1}', '{ "a" : 1 }', '{\n  "a": 1\n}', '{\r\n\t\t"a": 1\n}'):
        assert whole(schema(given), text), text
    for text in ('{  "a":1}', '{\n\n"a":1}', ' {"a":1}', "{\n" + " " * 33):
        assert not follows(schema(given), text), text


def test_a_schema_cannot_change_how_json_is_written() -> None:
    options = {"item_separator": ";", "whitespace_pattern": "x*", "lenient": True}
    constraint = schema({"type": "array", "x-guidance": options})
    assert follows(constraint, "[1") and not follows(constraint, ";")


def test_one_of_is_read_as_any_of() -> None:
    given = {"oneOf": [{"type": "string", "maxLength": 3}, {"type": "string", "minLength": 2}]}
    assert whole(schema(given), '"abc"')


def test_recursive_schemas_and_left_recursive_grammars() -> None:
    tree = {"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False}
    assert whole(schema(tree), '{"next":{"next":{}}}')
    assert whole(of_grammar(guide(), 'root ::= root "," [0-9] | [0-9]'), "1,2,3")


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("", ""),
        ("a|b", "b"),
        ("^a/b$", "a/b"),
        (r"\d{3}-\d{4}", "555-1234"),
        ("(a+)+$", "aaa"),
        ("a\nb", "a\nb"),
        (r"\\", "\\"),
        ("//", "//"),
    ],
)
def test_regular_expressions_match_as_a_whole(pattern: str, text: str) -> None:
    assert whole(of_regex(guide(), pattern), text)
    assert not follows(of_regex(guide(), pattern), text, "\x01")


@pytest.mark.parametrize(
    ("grammar", "text"),
    [
        ('root ::= "yes" | "no"', "no"),
        ('root ::= item+\nitem ::= "- " [^\\n]+ "\\n"', "- a\n- b\n"),
        ('root ::= "\\u0041\\x42" [\\u0043-\\u0045]', "ABD"),
        ('root ::= ("a" | "b"){2,3} # twice or thrice', "aba"),
        ('root ::= a-b\na-b ::= "1" | "2" a-b', "221"),
        ('%llguidance {}\nstart: /[a-z]+/ "!"', "hey!"),
        ('root ::= ""', ""),
    ],
)
def test_grammars(grammar: str, text: str) -> None:
    assert whole(of_grammar(guide(), grammar), text)
