"""The worker over HTTP: generate, embed, tokens, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable

import anyio
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from rbee.contracts.answers import Deleted, InferAnswer
from rbee.contracts.events import AnyEvent
from rbee.contracts.fleet import WorkerBeat
from rbee.contracts.limits import JobId
from rbee.contracts.operations import Infer
from rbee.contracts.worker_api import (
    ApplyTemplate,
    Begun,
    Detokenize,
    Embed,
    Generate,
    Rank,
    Ranks,
    Rendered,
    Text,
    Tokenize,
    Tokens,
    Vectors,
)
from rbee.wire import sse
from rbee.wire.codec import convert, decode, encode
from rbee.wire.gone import unless_gone
from rbee.wire.jobroutes import JOB_HEADER, resume_point
from rbee.wire.openapi import Endpoint
from rbee.wire.pages import application
from rbee.wire.replies import error_reply, reply
from rbee.wire.stream import KEEP_ALIVE_S, EventStream
from rbee.worker.refusals import check_place
from rbee.worker.service import Service
from rbee.worker.ticket import Ticket, whole

ANSWERS = "/v1/answers"
RESUME_BYTES = 64 * 1024 * 1024
"""What an answer has said so far may take beside its request: the ids of its prompt, and every
event of a full log, with its log probabilities."""


class Routes:
    """The handlers; they own nothing."""

    def __init__(self, service: Service, view: Callable[[], WorkerBeat]) -> None:
        self._service = service
        self._view = view

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("POST", "/v1/infer", self.infer, "Generate", Infer, InferAnswer),
            Endpoint(
                "POST",
                ANSWERS,
                self.answer,
                "Generate for a queen",
                Generate,
                AnyEvent,
                media="text/event-stream",
            ),
            Endpoint(
                "GET",
                "/v1/answers/{job_id}/stream",
                self.attach,
                "Attach to an answer that a queen asked for; as far back as it is kept, or ?from=",
                answer=AnyEvent,
                media="text/event-stream",
                query=("from",),
            ),
            Endpoint(
                "GET",
                "/v1/answers/{job_id}",
                self.held,
                "What an answer was asked for",
                answer=Begun,
            ),
            Endpoint(
                "DELETE",
                "/v1/answers/{job_id}",
                self.cancel,
                "Cancel an answer; with ?unread=true if nobody reads it any more",
                answer=Deleted,
                query=("unread",),
            ),
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
        check_place(infer, self._view())
        given = request.headers.get(JOB_HEADER)
        job_id = "" if given is None else convert(given, JobId)
        ticket = await self._service.begin(infer, job_id)
        if infer.stream:
            return await self._streamed(ticket, request)
        try:
            return reply(await unless_gone(request, lambda: whole(ticket)))
        finally:
            ticket.cancel()

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        asked: Generate = decode(body, Generate)
        ticket = await self._service.begin(
            asked.infer, asked.job_id, asked.resume, wait=asked.trial
        )
        ticket.tries = asked.tries
        if asked.orphan_grace_s:
            self._service.answers.add(ticket, asked.orphan_grace_s, len(body))
        self._service.answers.attach(ticket)
        return self._stream(ticket, ticket.start)

    async def attach(self, request: Request) -> Response:
        ticket = self._service.answers.find(request.path_params["job_id"])
        given = request.query_params.get("from", "")
        cursor = resume_point("", given) if given else ticket.log.first
        ticket.log.since(cursor)  # raises Gone before the headers are sent
        self._service.answers.attach(ticket)
        return self._stream(ticket, cursor)

    async def held(self, request: Request) -> Response:
        """For a queen who is about to attach to an answer that she did not ask for."""
        ticket = self._service.answers.find(request.path_params["job_id"])
        return reply(self._begun(ticket, ticket.log.first, whole=True))

    async def cancel(self, request: Request) -> Response:
        job_id: str = request.path_params["job_id"]
        if request.query_params.get("unread") == "true":
            self._service.answers.leave(job_id)
        else:
            self._service.answers.cancel(job_id, early=True)
        return reply(Deleted(job_id))

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
        if ticket.error is not None and ticket.log.total == 1:
            return error_reply(ticket.error)
        self._service.door.reads(ticket.log)
        return EventStream(
            ticket.log,
            headers={JOB_HEADER: ticket.id},
            on_close=lambda: self._close(ticket, ticket.cancel),
        )

    def _close(self, ticket: Ticket, leave: Callable[[], None]) -> None:
        leave()
        self._service.door.read(ticket.log)

    def _stream(self, ticket: Ticket, cursor: int) -> Response:
        """An answer for a queen who has been counted as its reader. One that was to wait for that
        begins: with whoever comes first, for she who asked may be gone."""
        self._service.door.reads(ticket.log)
        return EventStream(
            ticket.log,
            cursor,
            headers={JOB_HEADER: ticket.id},
            on_close=lambda: self._close(ticket, lambda: self._service.answers.release(ticket)),
            prelude=sse.frame(encode(self._begun(ticket, cursor, whole=False))),
            opened=lambda: ticket.go(),
        )

    def _begun(self, ticket: Ticket, number: int, *, whole: bool) -> Begun:
        service = self._service
        return ticket.begun(service.worker_id, service.model.sha256, number, whole=whole)


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
        wider={ANSWERS: RESUME_BYTES},
    )
