"""OpenAI's endpoints, each under `/v1/...` and under `/openai/v1/...`."""

from __future__ import annotations

import time
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from rbee import naming
from rbee.contracts.answers import InferAnswer
from rbee.contracts.operations import Infer
from rbee.queen.inference import Inference, check
from rbee.queen.openai import chat, completions, places, translate
from rbee.queen.openai.dialect import ROOTS, openai_errors
from rbee.queen.openai.question_routes import QuestionRoutes
from rbee.queen.openai.requests import ChatRequest, CompletionRequest, Sampling
from rbee.queen.questions import Questions
from rbee.queen.registry import Registry
from rbee.wire.codec import decode
from rbee.wire.jobroutes import streamed, told, wanted, whole
from rbee.wire.jobs import Job, Jobs
from rbee.wire.openapi import Endpoint
from rbee.wire.replies import reply


class OpenAIRoutes:
    """Handlers over the queen's parts."""

    def __init__(
        self, registry: Registry, inference: Inference, questions: Questions, jobs: Jobs
    ) -> None:
        self._registry = registry
        self._inference = inference
        self._questions = QuestionRoutes(questions)
        self._jobs = jobs
        self._started = int(time.time())

    def endpoints(self) -> list[Endpoint]:
        table = [
            ("POST", "/v1/chat/completions", self.chat, "Chat", ChatRequest),
            ("POST", "/v1/completions", self.completions, "Complete text", CompletionRequest),
            ("GET", "/v1/models", self.models, "List models", None),
            ("GET", "/v1/models/{id:path}", self.model, "A model", None),
        ]
        both = [
            Endpoint(method, root + path, openai_errors(handler), summary, body)
            for method, path, handler, summary, body in table
            for root in ROOTS
        ]
        return [*both, *self._questions.endpoints()]

    async def chat(self, request: Request) -> Response:
        asked: ChatRequest = decode(await request.body(), ChatRequest)
        infer = translate.chat(asked)
        job, created = self._start(request, [infer], places.CHAT)
        if infer.stream:
            chunks = chat.ChatChunks(job.id, asked.model, created, infer.n, _usage(asked))
            return await streamed(self._jobs, job, request, chunks)
        answer = await whole(self._jobs, job, request)
        return reply(chat.completion(answer, asked.model, created), headers=told(job))

    async def completions(self, request: Request) -> Response:
        asked: CompletionRequest = decode(await request.body(), CompletionRequest)
        infers = translate.completions(asked)
        job, created = self._start(request, infers, places.COMPLETIONS)
        if infers[0].stream:
            n = sum(infer.n for infer in infers)
            chunks = completions.TextChunks(job.id, asked.model, created, n, _usage(asked))
            return await streamed(self._jobs, job, request, chunks)
        answer = completions.best(await whole(self._jobs, job, request), asked)
        return reply(completions.completion(answer, asked.model, created), headers=told(job))

    def _start(
        self, request: Request, infers: Sequence[Infer], words: places.Words
    ) -> tuple[Job, int]:
        async def run(job: Job) -> InferAnswer | None:
            with places.told_in(words):
                return await self._inference.run_all(infers, job)

        with places.told_in(words):
            for infer in infers:
                check(infer)
        how = wanted(request, self._inference.grace_s)
        return self._jobs.start("infer", run, how), int(time.time())

    async def models(self, request: Request) -> Response:
        entries = self._registry.view(time.monotonic()).entries
        data = [self._entry(name) for name in sorted(e.id for e in entries if not e.problem)]
        return reply({"object": "list", "data": data})

    async def model(self, request: Request) -> Response:
        name = request.path_params["id"]
        fleet = self._registry.view(time.monotonic())
        found = fleet.entry(name)
        if found is None:
            raise naming.unknown(name, (e.id for e in fleet.entries))
        return reply(self._entry(found.id))

    def _entry(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": self._started, "owned_by": "rbee"}


def _usage(asked: Sampling) -> bool:
    """Whether a stream shall end with the counts."""
    return bool(asked.stream_options and asked.stream_options.include_usage)
