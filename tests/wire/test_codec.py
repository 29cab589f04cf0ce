"""Every kind of fault in a body: which error it is, and where it is said to be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.contracts.operations import AnyOperation, Infer
from rbee.errors import Invalid, NotJson, RbeeError
from rbee.wire import codec


def infer(rest: bytes) -> bytes:
    return b'{"operation":"infer","model":"bee",' + rest + b"}"


NO_JSON = {
    "nothing": b"",
    "cut": b'{"operation":"infer"',
    "more": b'{"operation":"status"} {}',
    "comment": b'{"operation":"status"} // x',
    "single quotes": b"{'operation':'status'}",
    "a mark before": b'\xef\xbb\xbf{"operation":"status"}',
    "NaN": infer(b'"temperature":NaN'),
    "Infinity": infer(b'"temperature":Infinity'),
    "not UTF-8": infer(b'"prompt":"\xff"'),
    "half a character": infer(b'"prompt":"\xe2\x82"'),
    "a lone surrogate": infer(b'"prompt":"\\ud800"'),
    "surrogates the wrong way": infer(b'"prompt":"\\udc00\\ud800"'),
    "a control character": infer(b'"prompt":"\x01"'),
    "depth, where any JSON fits": infer(b'"json_schema":' + b'{"a":' * 100_000),
    "depth, unclosed lists": infer(b'"json_schema":{"a":' + b"[" * 1_000_000),
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
def test_what_is_not_json(body: bytes) -> None:
    with pytest.raises(NotJson) as caught:
        codec.decode(body, AnyOperation)
    assert caught.value.status == 400
    assert len(caught.value.message) < 300


INVALID = {
    b"[]": "$",
    b"null": "$",
    b"[" * 100_000: "$",
    b"{}": "$.operation",
    b'{"operation":5}': "$.operation",
    b'{"operation":"dance"}': "$.operation",
    b'{"operation":"infer"}': "$.model",
    b'{"operation":"infer","model":5}': "$.model",
    b'{"operation":"infer","model":null}': "$.model",
    infer(b'"temprature":1'): "$.temprature",
    infer(b'"seed":1e999'): "$.seed",
    infer(b'"temperature":1e999'): "$.temperature",
    infer(b'"seed":' + b"1" * 5_000): "$.seed",
    infer(b'"max_tokens":1.5'): "$.max_tokens",
    infer(b'"stream":"true"'): "$.stream",
    infer(b'"prompt":{}'): "$.prompt",
    infer(b'"prompt":[1,-1]'): "$.prompt[1]",
    infer(b'"prompt":[1,2147483648]'): "$.prompt[1]",
    infer(b'"prompt":[true]'): "$.prompt[0]",
    infer(b'"messages":[{"role":"boss"}]'): "$.messages[0].role",
    infer(b'"messages":[{"role":"user"},{}]'): "$.messages[1].role",
    infer(b'"messages":[{"role":"user","content":[{"type":"text"}]}]'): (
        "$.messages[0].content[0].text"
    ),
    infer(b'"messages":[{"role":"user","content":[{"type":"image"}]}]'): (
        "$.messages[0].content[0].type"
    ),
    infer(b'"logit_bias":{"1":1000}'): "$.logit_bias[...]",
    infer(b'"logit_bias":{"x":1}'): "$.logit_bias",
    infer(b'"tools":[{"function":{"name":"a b"}}]'): "$.tools[0].function.name",
    b'{"operation":"worker_process_get","pid":0}': "$.pid",
    b'{"operation":"worker_process_get","pid":4294967296}': "$.pid",
    b'{"operation":"worker_spawn","model":"bee","slots":65}': "$.slots",
}


@pytest.mark.parametrize("body", INVALID, ids=lambda b: repr(b[-40:]))
def test_the_path_of_a_fault(body: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        codec.decode(body, AnyOperation)
    assert caught.value.path == INVALID[body]
    assert caught.value.status == 422
    assert INVALID[body] in caught.value.message


@pytest.mark.parametrize(
    "body",
    [
        infer(b'"' + b"x" * 1_000_000 + b'":1'),
        b'{"operation":"' + b"x" * 1_000_000 + b'"}',
        infer(b'"messages":[{"role":"' + b"x" * 1_000_000 + b'"}]'),
    ],
    ids=["field", "operation", "role"],
)
def test_megabytes_are_not_sent_back(body: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        codec.decode(body, AnyOperation)
    assert len(caught.value.message) + len(caught.value.path) < 2_000


@given(st.binary(max_size=60))
def test_any_bytes_give_a_named_error_or_an_operation(body: bytes) -> None:
    try:
        codec.decode(body, AnyOperation)
    except RbeeError as exc:
        assert isinstance(exc, NotJson | Invalid)


HOSTILE_NAMES = st.text(max_size=12) | st.sampled_from(
    ["` - at `$.x", "$", "`", "a - at `b` in `$"]
)


@given(HOSTILE_NAMES.filter(lambda n: n not in Infer.__struct_fields__ and n != "operation"))
def test_a_field_name_cannot_break_the_report(name: str) -> None:
    body = codec.encode({"operation": "infer", "model": "bee", name: 1})
    with pytest.raises(Invalid) as caught:
        codec.decode(body, AnyOperation)
    assert caught.value.path.startswith("$")


def test_converting_reports_like_decoding() -> None:
    with pytest.raises(Invalid) as caught:
        codec.convert({"operation": "infer", "model": "bee", "n": 0}, AnyOperation)
    assert caught.value.path == "$.n"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"model": "[[[", "a": [], "json_schema": ' + b'{"a":' * 5_000, "$.json_schema"),
        (b'{"\\"]": "\\"", "messages": [' + b"[" * 5_000, "$.messages"),
        (b'{"a": [' + b"[]," * 200_000 + b"[" * 5_000, ""),
    ],
)
def test_what_is_nested_too_deeply_is_named(body: bytes, path: str) -> None:
    with pytest.raises(NotJson, match="nested too deeply") as caught:
        codec.decode(body, dict)
    assert caught.value.path == path
