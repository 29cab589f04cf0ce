"""The error tree is what its picture says, and every error crosses the wire whole."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rbee import errors
from rbee.errors import BY_CODE, RbeeError, Upstream, from_code
from rbee.wire import codec
from rbee.wire.replies import error_reply, failed, from_failed, from_reply

CODES = sorted(BY_CODE)
_LINE = re.compile(r"^ {4}([|` -]*)(\w+)\s+(\d{3}) (\w+)", re.M)


def drawn() -> dict[str, tuple[str, int, str]]:
    """Class name to (parent, status, code), as the module's docstring draws them."""
    path: list[str] = []
    found = {}
    for indent, name, status, code in _LINE.findall(errors.__doc__ or ""):
        depth = len(indent) // 4
        path[depth:] = [name]
        found[name] = (path[depth - 1] if depth else "Exception", int(status), code)
    return found


def test_the_picture_is_the_tree() -> None:
    real = {
        kind.__name__: (kind.__bases__[0].__name__, kind.status, kind.code)
        for kind in BY_CODE.values()
    }
    assert drawn() == real


def test_codes_are_unique() -> None:
    kinds = {k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, RbeeError)}
    assert kinds == set(BY_CODE.values())


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("path", ["", "$", "$[0].x", "$.messages[0].content"])
def test_an_error_survives_an_http_answer(code: str, path: str) -> None:
    exc = from_code(code, "It broke.", hint="mend it", path=path)
    exc.retry_after_s = 1.5
    answer = error_reply(exc)
    assert answer.status_code == BY_CODE[code].status
    assert answer.headers["retry-after"] == "2"
    same(from_reply(answer.status_code, bytes(answer.body), "http://x"), exc)


@pytest.mark.parametrize("code", CODES)
def test_an_error_survives_an_event(code: str) -> None:
    exc = from_code(code, "It broke.", hint="mend it", path="$.a")
    exc.retry_after_s = 0.25
    same(from_failed(failed(exc)), exc)


def same(got: RbeeError, sent: RbeeError) -> None:
    assert type(got) is type(sent)
    assert vars(got) == vars(sent)
    assert str(got) == str(sent)


def test_the_envelope_is_openais() -> None:
    exc = from_code("model_not_found", "No model 'x' here.", hint="fetch it", path="$.model")
    assert said(exc) == {
        "code": "model_not_found",
        "message": "No model 'x' here.",
        "type": "invalid_request_error",
        "param": "model",
        "hint": "fetch it",
    }


@pytest.mark.parametrize("wait", [0.0, 1.5])
def test_a_wait_is_told_where_there_is_one(wait: float) -> None:
    exc = RbeeError("It broke.", retry_after_s=wait)
    event: dict[str, Any] = codec.plain(failed(exc))
    for told in (said(exc), event):
        assert told.get("retry_after_s") == (wait or None)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("overloaded", "rate_limit_error"),
        ("invalid_field", "invalid_request_error"),
        ("unavailable", "server_error"),
    ],
)
def test_openais_class_of_the_error(code: str, kind: str) -> None:
    assert said(from_code(code, "x"))["type"] == kind


def said(exc: RbeeError) -> dict[str, Any]:
    """The inside of the envelope."""
    body: dict[str, dict[str, Any]] = codec.decode(bytes(error_reply(exc).body), dict)
    return body["error"]


def test_a_newer_peers_code_is_a_failed_upstream() -> None:
    body = b'{"error":{"code":"moon_phase","message":"Wrong phase.","new":1}}'
    exc = from_reply(418, body, "http://x")
    assert type(exc) is Upstream
    assert exc.message == "Wrong phase."


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Bad Gateway</html>",
        b'{"detail":"nothing of ours"}',
        b'{"error":"text"}',
        b'{"error":{"message":"no code","code":null}}',
        b"\xff\xfe",
        b'{"error":' * 50_000,
    ],
    ids=lambda b: repr(b[:20]),
)
def test_what_is_no_envelope_is_no_answer_of_rbees(body: bytes) -> None:
    exc = from_reply(502, body, "http://x/y")
    assert type(exc) is Upstream
    assert exc.message == "http://x/y answered 502, and not as rbee does."
    assert exc.hint
