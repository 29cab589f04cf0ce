"""JSON becomes a call, or it is none."""

from __future__ import annotations

import pytest

from rbee.worker.tools.calls import parse


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('{"name": "f"}', "{}"),
        ('{"name": "f", "arguments": null}', "{}"),
        ('{"name": "f", "arguments": "{\\"x\\": 1}"}', '{"x": 1}'),
        ('{"name": "f", "arguments": {"k": "ü"}}', '{"k": "ü"}'),
        ('{"name": "f", "parameters": {"k": 1}}', '{"k": 1}'),
        ('{"name": "f", "arguments": {"k": "\\ud83d"}}', '{"k": "\\ud83d"}'),
        ('{"name": "f", "arguments": "\\ud83d"}', '"\\ud83d"'),
    ],
)
def test_arguments_are_json_text(text: str, arguments: str) -> None:
    found = parse(text, 0)
    assert found is not None and found.function.arguments == arguments


def test_of_both_keys_the_forms_own_is_read() -> None:
    both = '{"name": "f", "arguments": {"a": 1}, "parameters": {"p": 1}}'
    own, other = parse(both, 3), parse(both, 3, "parameters")
    assert own is not None and own.function.arguments == '{"a": 1}' and own.index == 3
    assert other is not None and other.function.arguments == '{"p": 1}'
