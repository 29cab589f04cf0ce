"""Whoever speaks a dialect reads of its own fields, wherever the fault was found."""

from __future__ import annotations

from typing import Any

import pytest

from rbee.queen.openai import places
from tests.http import ask

SCHEMA = {"type": "object"}
TURN = [{"role": "user", "content": "form: x"}]
FORM = {"type": "json_schema", "name": "x", "schema": SCHEMA}
NESTED = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
SCHEMAS: dict[str, tuple[dict[str, Any], str]] = {
    "chat/completions": ({"messages": TURN, "response_format": NESTED}, "response_format"),
    "responses": ({"input": "form: x", "text": {"format": FORM}}, "text.format"),
    "completions": ({"prompt": "form: x", "json_schema": SCHEMA}, "json_schema"),
}
THEIRS = {
    "messages": TURN,
    "max_tokens": 5,
    "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", SCHEMAS)
def test_a_schema_that_the_worker_refuses(a_queen: str, path: str, stream: bool) -> None:
    body, name = SCHEMAS[path]
    answer = ask("POST", f"{a_queen}/v1/{path}", {"model": "bee", "stream": stream, **body})
    assert answer.status == 400
    found = answer.json()["error"]
    assert (found["param"], found["message"]) == (name, f"$.{name} is not usable: no.")


@pytest.mark.parametrize("stream", [False, True])
def test_the_same_in_anthropics_envelope(a_queen: str, stream: bool) -> None:
    answer = ask("POST", f"{a_queen}/v1/messages", {"model": "bee", "stream": stream, **THEIRS})
    assert answer.status == 400
    message = answer.json()["error"]["message"]
    assert message == "output_config.format: $.output_config.format is not usable: no."


def test_a_form_too_many_is_told_before_a_worker_is_asked(a_queen: str) -> None:
    body = {"model": "bee", "messages": TURN, "response_format": NESTED, "regex": "a"}
    found = ask("POST", f"{a_queen}/v1/chat/completions", body).json()["error"]
    assert (found["message"], found["param"]) == (
        "Give response_format or regex, not both.",
        "regex",
    )


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": "", "documents": ["a"]}, "query"),
        ({"query": "q", "documents": ["a", ""]}, "documents[1]"),
        ({"query": "q", "documents": ["a", "b", {"text": ""}]}, "documents[2]"),
    ],
)
def test_what_cannot_be_ranked(a_queen: str, body: dict[str, Any], param: str) -> None:
    answer = ask("POST", f"{a_queen}/v1/rerank", {"model": "bee", **body})
    assert answer.status == 400
    found = answer.json()["error"]
    assert (found["param"], found["message"]) == (param, f"$.{param} is empty.")


def test_paths_in_other_words() -> None:
    tool = "$.tools[2].function.parameters"
    assert places.CHAT(tool) == tool
    assert places.RESPONSES(tool) == "$.tools[2].parameters"
    assert places.MESSAGES(tool) == "$.tools[2].input_schema"
    image = "$.messages[3].content[1] is no picture."
    assert places.CHAT(image) == image
    assert places.RESPONSES(image) == "$.input is no picture."
    assert places.MESSAGES(image) == "$.messages is no picture."
    assert places.RESPONSES("$.max_tokens") == "$.max_output_tokens"
    assert places.MESSAGES("$.stop[0]") == "$.stop_sequences[0]"


def test_what_a_client_said_stays_as_it_was() -> None:
    for words in (places.CHAT, places.RESPONSES, places.MESSAGES):
        said = "tool_choice names 'json_schema', which is not among tools."
        assert words(said) == said
        assert words("The messages are empty, and so is stop.") == (
            "The messages are empty, and so is stop."
        )
