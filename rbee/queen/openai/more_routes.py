"""The endpoints of the newer and the foreign dialects: `/v1/responses` and `/v1/messages`."""

from __future__ import annotations

import time

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rbee.contracts.answers import InferAnswer
from rbee.contracts.operations import Infer
from rbee.contracts.worker_api import Tokenize, Tokens
from rbee.queen.inference import Inference, check
from rbee.queen.openai import messages, messages_answers, places, responses, responses_items
from rbee.queen.openai.dialect import ROOTS, anthropic_errors, openai_errors
from rbee.queen.openai.messages_requests import CountRequest, MessagesRequest
from rbee.queen.openai.messages_stream import MessageEvents
from rbee.queen.openai.responses_requests import ResponsesRequest
from rbee.queen.openai.responses_stream import ResponseEvents
from rbee.queen.questions import Questions
from rbee.wire.codec import decode
from rbee.wire.jobroutes import streamed, told, wanted, whole
from rbee.wire.jobs import Job, Jobs
from rbee.wire.openapi import Endpoint
from rbee.wire.replies import reply

NO_END = b""
"""Both end in an event of their own, not in `[DONE]`."""


class MoreRoutes:
    """Handlers over the queen's parts."""

    def __init__(self, inference: Inference, questions: Questions, jobs: Jobs) -> None:
        self._inference = inference
        self._questions = questions
        self._jobs = jobs

    def endpoints(self) -> list[Endpoint]:
        handler = openai_errors(self.responses)
        both = [
            Endpoint("POST", root + "/v1/responses", handler, "Respond", ResponsesRequest)
            for root in ROOTS
        ]
        table = [
            ("/v1/messages", self.messages, "Anthropic's chat", MessagesRequest),
            ("/v1/messages/count_tokens", self.count, "Count a prompt's tokens", CountRequest),
        ]
        theirs = [
            Endpoint("POST", path, anthropic_errors(spoken), summary, body)
            for path, spoken, summary, body in table
        ]
        return [*both, *theirs]

    async def responses(self, request: Request) -> Response:
        asked: ResponsesRequest = decode(await request.body(), ResponsesRequest)
        infer = responses.infer_of(asked)
        job, created = self._start(request, infer, places.RESPONSES), int(time.time())
        if infer.stream:
            events = ResponseEvents(job.id, asked, created)
            return await streamed(self._jobs, job, request, events, NO_END)
        answer = await whole(self._jobs, job, request)
        return reply(responses_items.response(answer, asked, created), headers=told(job))

    async def messages(self, request: Request) -> Response:
        asked: MessagesRequest = decode(await request.body(), MessagesRequest)
        infer = messages.infer_of(asked)
        job = self._start(request, infer, places.MESSAGES)
        if infer.stream:
            events = MessageEvents(job.id, asked.model)
            return await streamed(self._jobs, job, request, events, NO_END)
        answer = await whole(self._jobs, job, request)
        return reply(messages_answers.message(answer, asked.model), headers=told(job))

    async def count(self, request: Request) -> Response:
        asked: CountRequest = decode(await request.body(), CountRequest)

        def question(own: str) -> Tokenize:
            return msgspec.structs.replace(messages.question_of(asked), model=own)

        with places.told_in(places.MESSAGES):
            found = await self._questions.ask(request, asked.model, "/tokenize", Tokens, question)
        return reply({"input_tokens": found.count})

    def _start(self, request: Request, infer: Infer, words: places.Words) -> Job:
        async def run(job: Job) -> InferAnswer | None:
            with places.told_in(words):
                return await self._inference.run(infer, job)

        with places.told_in(words):
            check(infer)
        return self._jobs.start("infer", run, wanted(request, self._inference.grace_s))
