"""Endpoints that one short question to a worker answers: vectors, ranks, tokens, templates."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rbee.contracts.fleet import WorkerBeat
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
from rbee.errors import Invalid
from rbee.queen.openai import places, translate, vectors
from rbee.queen.openai.dialect import ROOTS, openai_errors
from rbee.queen.openai.vector_requests import EmbeddingRequest, RerankRequest
from rbee.queen.questions import Question, Questions
from rbee.wire.codec import decode
from rbee.wire.openapi import Endpoint
from rbee.wire.replies import reply

MAX_TEXTS = 2_048
Asked = TypeVar("Asked", Tokenize, Detokenize, ApplyTemplate)


class QuestionRoutes:
    """Handlers over the queen's questions."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions

    def endpoints(self) -> list[Endpoint]:
        both = [
            ("/v1/embeddings", self.embeddings, "Embed texts", EmbeddingRequest),
            ("/v1/rerank", self.rerank, "Rank documents", RerankRequest),
        ]
        own = [
            ("/tokenize", self.tokenize, "Text to ids", Tokenize, Tokens),
            ("/detokenize", self.detokenize, "Ids to text", Detokenize, Text),
            ("/apply-template", self.template, "A chat as text", ApplyTemplate, Rendered),
        ]
        return [
            *(
                Endpoint("POST", root + path, openai_errors(handler), summary, body)
                for path, handler, summary, body in both
                for root in ROOTS
            ),
            *(
                Endpoint("POST", path, openai_errors(handler), summary, body, answer)
                for path, handler, summary, body, answer in own
            ),
        ]

    async def embeddings(self, request: Request) -> Response:
        asked: EmbeddingRequest = decode(await request.body(), EmbeddingRequest)
        texts = translate.texts(asked.input, "input")
        if len(texts) > MAX_TEXTS:
            raise Invalid(f"{len(texts)} texts; at most {MAX_TEXTS} at once.", path="$.input")
        found = await self._questions.ask(
            request, asked.model, "/v1/embed", Vectors, lambda own: Embed(model=own, input=texts)
        )
        return reply(vectors.embeddings(found, asked))

    async def rerank(self, request: Request) -> Response:
        """By the model's own classifier where it has one, else by the vectors it makes."""
        asked: RerankRequest = decode(await request.body(), RerankRequest)
        documents = [vectors.document_text(d) for d in asked.documents]

        def question(worker: WorkerBeat) -> Question[Ranks | Vectors]:
            if worker.ranks:
                rank = Rank(model=worker.model, query=asked.query, documents=documents)
                return Question("/v1/rank", Ranks, rank)
            embed = Embed(model=worker.model, input=[asked.query, *documents])
            return Question("/v1/embed", Vectors, embed)

        with places.told_in(places.RERANK):
            found = await self._questions.ask_as_fits(request, asked.model, question)
        if isinstance(found, Ranks):
            return reply(vectors.by_model(found, asked))
        return reply(vectors.by_cosine(found, asked))

    async def tokenize(self, request: Request) -> Response:
        return await self._pass_on(request, "/tokenize", Tokenize, Tokens)

    async def detokenize(self, request: Request) -> Response:
        return await self._pass_on(request, "/detokenize", Detokenize, Text)

    async def template(self, request: Request) -> Response:
        return await self._pass_on(request, "/apply-template", ApplyTemplate, Rendered)

    async def _pass_on(
        self, request: Request, path: str, kind: type[Asked], answer: type[Tokens | Text | Rendered]
    ) -> Response:
        """The worker's own endpoint, asked under the model's own name."""
        asked: Asked = decode(await request.body(), kind)

        def question(own: str) -> Asked:
            return msgspec.structs.replace(asked, model=own)

        return reply(await self._questions.ask(request, asked.model, path, answer, question))
