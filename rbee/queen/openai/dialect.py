"""Handlers that speak as others do: their error envelopes, and a bad field is a 400."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rbee.errors import Invalid, RbeeError
from rbee.queen.openai.messages_answers import error
from rbee.wire.openapi import Handler
from rbee.wire.problems import from_reply
from rbee.wire.replies import error_reply, reply

ROOTS = ("", "/openai")
"""OpenAI's endpoints are under both."""


def openai_errors(handler: Handler) -> Handler:
    """`handler`, with 422 said as 400."""

    async def handled(request: Request) -> Response:
        try:
            response = await handler(request)
        except RbeeError as exc:
            response = error_reply(exc)
        if response.status_code == Invalid.status:
            response.status_code = 400
        return response

    return handled


def anthropic_errors(handler: Handler) -> Handler:
    """`openai_errors` in Anthropic's envelope."""
    inner = openai_errors(handler)

    async def handled(request: Request) -> Response:
        response = await inner(request)
        if response.status_code < 400:
            return response
        exc = from_reply(response.status_code, bytes(response.body), str(request.url.path))
        retry = response.headers.get("retry-after")
        headers = {"retry-after": retry} if retry else None
        return reply(error(exc), response.status_code, headers)

    return handled
