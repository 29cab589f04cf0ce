"""An error as a value that crosses a process, and back again. Pure, and quick to import.

`rbee.wire.replies` makes HTTP answers of it; a client needs only this module.
"""

from __future__ import annotations

import msgspec

from rbee.contracts.answers import Problem, ProblemReply
from rbee.contracts.events import Failed
from rbee.errors import RbeeError, from_code


def problem(exc: RbeeError) -> Problem:
    """The error as it crosses the wire."""
    return Problem(
        exc.code,
        exc.message,
        type=_openai_type(exc),
        param=exc.path.removeprefix("$.") or None,  # `$[0]`, in a body that is a list, stays
        hint=exc.hint,
        **_wait(exc),
    )


def _openai_type(exc: RbeeError) -> str:
    if exc.status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if exc.status < 500 else "server_error"


def failed(exc: RbeeError) -> Failed:
    """The error as the last event of a stream that has already begun."""
    return Failed(
        code=exc.code,
        message=exc.message,
        hint=exc.hint,
        path=exc.path,
        **_wait(exc),
    )


def _wait(exc: RbeeError) -> dict[str, float]:
    """How long, where there is something to wait for. A 0.0 of our own would be told: a default is
    left out by its identity."""
    return {"retry_after_s": exc.retry_after_s} if exc.retry_after_s else {}


def from_failed(event: Failed) -> RbeeError:
    """The exception that a `failed` event stands for."""
    exc = from_code(event.code, event.message, hint=event.hint, path=event.path)
    exc.retry_after_s = event.retry_after_s
    return exc


def from_reply(status: int, body: bytes, url: str) -> RbeeError:
    """The exception that an error answer stands for."""
    try:
        found = msgspec.json.decode(body, type=ProblemReply).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return from_code(
            "upstream_failed",
            f"{url} answered {status}, and not as rbee does.",
            hint="something else may be listening there; another port is another address",
        )
    exc = from_code(found.code, found.message, hint=found.hint, path=_path(found.param or ""))
    exc.retry_after_s = found.retry_after_s
    return exc


def _path(param: str) -> str:
    return f"$.{param}" if param and not param.startswith("$") else param
