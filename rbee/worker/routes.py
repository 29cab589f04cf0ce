"""The worker over HTTP: generate, embed, tokens, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable

import anyio
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from rbee.contracts.answers import InferAnswer
from rbee.contracts.fleet import WorkerBeat
from rbee.contracts.operations import Infer
from rbee.contracts.worker_api import (
    ApplyTemplate,
    Detokenize,
    Embed,
    Rank,
    Ranks,
    Rendered,
    Text,
    Tokenize,
    Tokens,
    Vectors,
)
from rbee.wire.codec import decode
from rbee.wire.gone import unless_gone
from rbee.wire.jobroutes import JOB_HEADER
from rbee.wire.openapi import Endpoint
from rbee.wire.pages import application
from rbee.wire.replies import error_reply, reply
from rbee.wire.stream import KEEP_ALIVE_S, EventStream
from rbee.worker.service import Service
from rbee.worker.ticket import Ticket, whole


class Routes:
    """The handlers; they own nothing."""

    def __init__(self, service: Service, view: Callable[[], WorkerBeat]) -> None:
        self._service = service
        self._view = view

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("POST", "/v1/infer", self.infer, "Generate", Infer, InferAnswer),
            Endpoint("POST", "/v1/embed", self.embed, "Vectors", Embed, Vectors),
            Endpoint("POST", "/v1/rank", self.rank, "Scores", Rank, Ranks),
            Endpoint("POST", "/tokenize", self.tokenize, "Text to tokens", Tokenize, Tokens),
            Endpoint("POST", "/detokenize", self.detokenize, "Tokens to text", Detokenize, Text),
            Endpoint(
                "POST",
                "/apply-template",
                self.apply_template,
                "A chat as the model reads it",
                ApplyTemplate,
                Rendered,
            ),
            Endpoint("GET", "/v1/status", self.status, "The worker's state", answer=WorkerBeat),
        ]

    async def infer(self, request: Request) -> Response:
        infer: Infer = decode(await request.body(), Infer)
        ticket = await self._service.begin(infer, request.headers.get(JOB_HEADER, "")[:64])
        if infer.stream:
            return await self._streamed(ticket, request)
        try:
            return reply(await unless_gone(request, lambda: whole(ticket)))
        finally:
            ticket.cancel()

    async def embed(self, request: Request) -> Response:
        wanted: Embed = decode(await request.body(), Embed)
        return reply(await unless_gone(request, lambda: self._service.embed(wanted)))

    async def rank(self, request: Request) -> Response:
        wanted: Rank = decode(await request.body(), Rank)
        return reply(await unless_gone(request, lambda: self._service.rank(wanted)))

    async def tokenize(self, request: Request) -> Response:
        return reply(await self._service.tokenize(decode(await request.body(), Tokenize)))

    async def detokenize(self, request: Request) -> Response:
        return reply(await self._service.detokenize(decode(await request.body(), Detokenize)))

    async def apply_template(self, request: Request) -> Response:
        wanted: ApplyTemplate = decode(await request.body(), ApplyTemplate)
        return reply(await self._service.apply_template(wanted))

    async def status(self, request: Request) -> Response:
        return reply(self._view())

    async def _streamed(self, ticket: Ticket, request: Request) -> Response:
        """The stream, or the error if there is nothing else to say."""
        try:
            with anyio.move_on_after(KEEP_ALIVE_S):
                await unless_gone(request, lambda: ticket.log.wait(0))
        except BaseException:
            ticket.cancel()
            raise
        error = ticket.error
        if error is not None and ticket.log.total == 1:
            return error_reply(error)
        headers = {JOB_HEADER: ticket.id}
        return EventStream(ticket.log, headers=headers, on_close=ticket.cancel)


def build(
    service: Service,
    view: Callable[[], WorkerBeat],
    metrics: CollectorRegistry,
    *,
    hosts: frozenset[str],
    ready: Callable[[], bool],
    max_body_bytes: int,
) -> ASGIApp:
    """The worker's application."""
    return application(
        "worker",
        service.worker_id,
        Routes(service, view).endpoints(),
        hosts=hosts,
        ready=ready,
        metrics=metrics,
        max_body_bytes=max_body_bytes,
    )
