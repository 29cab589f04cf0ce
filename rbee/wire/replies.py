"""Structs as HTTP answers, and the one place where an exception becomes one.

Every error has OpenAI's envelope, so that any OpenAI client can read it, with rbee's own `code`
and `hint`. The status is rbee's, but for the OpenAI dialect, where a field's fault is a 400.
"""

from __future__ import annotations

import logging
import math
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from rbee.contracts.answers import ProblemReply
from rbee.errors import Cancelled, MethodNotAllowed, NotFound, RbeeError
from rbee.wire.codec import encode
from rbee.wire.problems import failed, from_failed, from_reply, problem

__all__ = ["HANDLERS", "error_reply", "failed", "from_failed", "from_reply", "problem", "reply"]

log = logging.getLogger(__name__)


def reply(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`value` (a struct or builtins) as a JSON answer."""
    body = encode(value) + b"\n"  # a terminal's prompt then starts on a line of its own
    return Response(body, status, headers, media_type="application/json")


def error_reply(exc: RbeeError, status: int | None = None) -> Response:
    """The error as an HTTP answer, with `Retry-After` where the error knows it."""
    headers = {}
    if exc.retry_after_s:
        headers["Retry-After"] = str(math.ceil(exc.retry_after_s))
    return reply(ProblemReply(problem(exc)), status or exc.status, headers)


async def _on_rbee_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RbeeError)
    return error_reply(exc)


async def _on_http_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    where = f"{request.method} {request.url.path[:200]}"
    if exc.status_code == 405:
        refused = error_reply(MethodNotAllowed(f"{where}: this method is not allowed here."))
        refused.headers.update(exc.headers or {})  # Allow
        return refused
    if exc.status_code == 404:
        return error_reply(NotFound(f"{where}: nothing is here.", hint="see /v1/openapi.json"))
    return error_reply(RbeeError(f"{where}: {exc.detail}"), exc.status_code)


async def _on_disconnect(request: Request, exc: Exception) -> Response:
    return error_reply(Cancelled("The client went away."))


async def _on_crash(request: Request, exc: Exception) -> Response:
    return error_reply(RbeeError(f"{type(exc).__name__} inside rbee; its log tells more."))


HANDLERS: dict[Any, Any] = {
    RbeeError: _on_rbee_error,
    HTTPException: _on_http_error,
    ClientDisconnect: _on_disconnect,
    Exception: _on_crash,
}
"""For `Starlette(exception_handlers=...)`."""
