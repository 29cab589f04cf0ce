"""A worker without a model, as a real process: it says the prompt back, a word a token.

It speaks the worker's HTTP API and sends real heartbeats. By flag it is slow (`--gap_s`), dies in
the middle of an answer (`--die_after N` tokens; 0: of a short question too), never answers
(`--deaf 1`), has no room (`--full 1`), has no answer to attach to (`--forgets 1`), drains and ends
its answer after some tokens (`--leave_after N`), or dies of the word `poison` when it comes to say
it, or is asked about it. `--port` and `--advertise URL` put
something between it and the queen. It goes on with what another began, and lets queens attach to
what it says; an answer that nobody reads it says to its end.
A prompt that begins with `fail:` is answered with a token and a `failed` event, `long:` with a 400,
a schema for which it is `form:` with one that names it, an empty text to embed with another,
`call:` with a tool call, `think:` with its second word as a thought. `--ranks 1` makes it a ranker:
the more letters a document has, the better.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable
from itertools import pairwise

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rbee.contracts.chat import FunctionCall, TextPart, ToolCall
from rbee.contracts.events import AnyEvent, Done, Failed, Logprob, Prompt, Timings, Token, Usage
from rbee.contracts.fleet import WorkerBeat
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
    Written,
)
from rbee.errors import BadRequest, JobNotFound, Overloaded, PromptTooLong
from rbee.wire import server, sse
from rbee.wire.beats import Beater
from rbee.wire.codec import decode, encode
from rbee.wire.eventlog import EventLog
from rbee.wire.http import Http
from rbee.wire.replies import HANDLERS, reply
from rbee.wire.stream import EventStream

SHA = "0" * 64
DRAIN_S = 0.5


class StubWorker:
    def __init__(self, flags: dict[str, str]) -> None:
        self.id = flags.get("id", "stub-1")
        self.model = flags.get("model", "bee")
        self.hive_id = flags.get("hive_id", "")
        self.device = flags.get("device", "cpu")
        self.slots = int(flags.get("slots", "4"))
        self.gap_s = float(flags.get("gap_s", "0"))
        self.die_after = int(flags.get("die_after", "-1"))
        self.leave_after = int(flags.get("leave_after", "-1"))
        self.draining = False
        self.deaf = flags.get("deaf") == "1"
        self.full = flags.get("full") == "1"
        self.answers: dict[str, tuple[Generate, EventLog, anyio.CancelScope]] = {}
        self.moved = 0
        """How often it went on with what another began."""
        self.ranks = flags.get("ranks") == "1"
        self.queen = flags.get("queen", "")
        self.busy = 0
        self.answered = 0
        self.port = int(flags.get("port", "0"))
        self.url = flags.get("advertise", "")
        self.forgets = flags.get("forgets") == "1"
        self.poke: Callable[[], None] = lambda: None

    def beat(self, incarnation: str, seq: int) -> WorkerBeat:
        return WorkerBeat(
            id=self.id,
            incarnation=incarnation,
            seq=seq,
            url=self.url,
            hive_id=self.hive_id,
            model=self.model,
            sha256=SHA,
            device=self.device,
            state="draining" if self.draining else "ready",
            slots=self.slots,
            busy=self.busy,
            waiting=0,
            context=4_096,
            step=self.answered,
            step_age_s=0.0,
            jobs=[job for job, (_, log, _) in self.answers.items() if not log.ended],
            kept=[job for job, (_, log, _) in self.answers.items() if log.ended],
            ranks=self.ranks,
        )

    async def answer(self, request: Request) -> Response:
        asked: Generate = decode(await request.body(), Generate)
        infer, resume = asked.infer, asked.resume
        assert infer.model == self.model, "the queen sends the worker's own model id"
        text = prompt_of(infer)
        if self.full:
            raise Overloaded("No room here.", retry_after_s=1.0)
        if text.startswith("long:"):
            raise PromptTooLong("The prompt has 9999 tokens, the context holds 4096.")
        if text.startswith("form:"):
            raise BadRequest("$.json_schema is not usable: no.", path="$.json_schema")
        log = EventLog(first=resume.first if resume else 0)
        log.append(*(resume.events if resume else ()))
        first, scope = log.total, anyio.CancelScope()
        self.moved += any(w.token_ids for w in resume.written) if resume else 0
        self.busy += 1
        self.answers[asked.job_id] = asked, log, scope
        self.poke()
        self._group.start_soon(self._speak, asked, text, log, scope)
        on_close = scope.cancel if not asked.orphan_grace_s else None
        return EventStream(log, first, on_close=on_close, prelude=self._prelude(asked, first))

    def _prelude(self, asked: Generate, first: int) -> bytes:
        return sse.frame(encode(self._begun(asked, first)))

    def _begun(self, asked: Generate, first: int) -> Begun:
        ids = asked.resume.prompt_ids if asked.resume and asked.resume.prompt_ids else [7]
        assert ids == [7], "the prompt's ids come back as they were told"
        return Begun(
            worker_id=self.id,
            sha256=SHA,
            prompt_ids=ids,
            first=first,
            migrations=asked.resume.migrations if asked.resume else 0,
            tries=asked.tries,
        )

    async def attach(self, request: Request) -> Response:
        if self.forgets:
            raise JobNotFound("not here")
        asked, log, _ = self._held(request)
        first = int(request.query_params.get("from", log.first))
        return EventStream(log, first, prelude=self._prelude(asked, first))

    async def held(self, request: Request) -> Response:
        asked, log, _ = self._held(request)
        begun = self._begun(asked, log.first)
        begun.infer, begun.written = asked.infer, [Written() for _ in range(asked.infer.n)]
        return reply(begun)

    async def cancel(self, request: Request) -> Response:
        self._held(request)[2].cancel()
        return reply({"deleted": request.path_params["job_id"]})

    def _held(self, request: Request) -> tuple[Generate, EventLog, anyio.CancelScope]:
        found = self.answers.get(request.path_params["job_id"])
        if found is None or not found[0].orphan_grace_s:
            raise JobNotFound("not here")
        return found

    async def _speak(
        self, asked: Generate, text: str, log: EventLog, scope: anyio.CancelScope
    ) -> None:
        try:
            with scope:
                async for event in self._events(asked, text):
                    log.append(event)
        finally:
            self.busy -= 1
            self.answered += 1
            held = self.answers.get(asked.job_id)
            if held is not None and held[1] is log and not log.ended:
                del self.answers[asked.job_id]  # it was cancelled
            self.poke()

    async def _events(self, asked: Generate, text: str) -> AsyncIterator[AnyEvent]:
        infer, resume = asked.infer, asked.resume
        behind = len(resume.written[0].token_ids) if resume else 0
        if self.deaf:
            await anyio.sleep_forever()
        if text.startswith("fail:"):
            yield Token(index=0, text="well", token_ids=[1])
            await anyio.sleep(0.05)
            yield Failed(code="internal_error", message="as you wish")
            return
        if infer.echo and not (resume and resume.prompted):
            yield Prompt(text=text, token_ids=[7], logprobs=_unscored(text, infer.logprobs))
        words, thoughts = text.split(" ")[: infer.max_tokens], 0
        if text.startswith("think:"):
            for choice in range(infer.n):
                yield Token(index=0, text="", token_ids=[9], choice=choice, reasoning=words[1])
            words, thoughts = words[2:], infer.n
        if text.startswith("call:"):
            call = ToolCall("call-1", FunctionCall(text[5:], '{"a":1}'))
            for choice in range(infer.n):
                yield Token(index=0, text="", token_ids=[1], choice=choice, tool_calls=[call])
            words = []
        for index, word in enumerate(words[behind:], behind):
            if index - behind == self.die_after or word == "poison":
                os._exit(9)
            if index - behind == self.leave_after:
                self.draining = True
                self.poke()
                await anyio.sleep(DRAIN_S)
                yield Failed(code="worker_gone", message="The worker is shutting down.")
                return
            for choice in range(infer.n):
                said = word if index == 0 else f" {word}"
                yield Token(
                    index=index + (1 if thoughts else 0),
                    text=said,
                    token_ids=[index + 100],
                    choice=choice,
                    logprobs=_logprobs(said, index, infer.logprobs),
                )
            await anyio.sleep(self.gap_s)
        reason = "tool_calls" if text.startswith("call:") else "stop"
        if infer.max_tokens is not None and len(text.split(" ")) > infer.max_tokens:
            reason = "length"
        yield Done(
            finish_reason=reason,  # type: ignore[arg-type]
            finish_reasons=[reason] * infer.n,  # type: ignore[list-item]
            usage=Usage(len(text.split(" ")), len(words) * infer.n, 0, thoughts),
            timings=Timings(),
            worker_id=self.id,
            model=self.model,
            sha256=SHA,
            migrations=resume.migrations if resume else 0,
        )

    def _asked_shortly(self, *texts: object) -> None:
        if self.die_after == 0 or "poison" in texts:
            os._exit(9)
        if self.full:
            raise Overloaded("No room here.", retry_after_s=1.0)

    async def embed(self, request: Request) -> Response:
        embed: Embed = decode(await request.body(), Embed)
        self._asked_shortly(*embed.input)
        if self.deaf:
            await anyio.sleep_forever()
        if "" in embed.input:
            place = f"$.input[{embed.input.index('')}]"
            raise BadRequest(f"{place} is empty.", path=place)
        rows = [[float(len(text)), 1.0, 2.0, 2.0] for text in embed.input]
        return reply(Vectors(model=self.model, vectors=rows, prompt_tokens=len(rows)))

    async def rank(self, request: Request) -> Response:
        rank: Rank = decode(await request.body(), Rank)
        self._asked_shortly(rank.query)
        scores = [float(len(document)) for document in rank.documents]
        return reply(Ranks(model=self.model, scores=scores, prompt_tokens=len(scores)))

    async def template(self, request: Request) -> Response:
        asked: ApplyTemplate = decode(await request.body(), ApplyTemplate)
        text = "".join(f"<{m.role}>{m.content}" for m in asked.messages)
        return reply(Rendered(self.model, text))

    async def tokenize(self, request: Request) -> Response:
        asked: Tokenize = decode(await request.body(), Tokenize)
        self._asked_shortly(asked.text)
        text = asked.text or " ".join(str(m.content) for m in asked.messages or ())
        found = [ord(c) for c in text]
        return reply(Tokens(self.model, found, len(found)))

    async def detokenize(self, request: Request) -> Response:
        asked: Detokenize = decode(await request.body(), Detokenize)
        return reply(Text(self.model, "".join(map(chr, asked.tokens))))

    async def state(self, request: Request) -> Response:
        infers = [asked.infer for asked, _, _ in self.answers.values()]
        return reply(
            {
                "trials": [asked.trial for asked, _, _ in self.answers.values()],
                "busy": self.busy,
                "answered": self.answered,
                "moved": self.moved,
                "seeds": [infer.seed for infer in infers],
                "deadlines_ms": [infer.deadline_ms for infer in infers],
            }
        )

    def app(self) -> Starlette:
        posts = {
            "/v1/answers": self.answer,
            "/v1/embed": self.embed,
            "/v1/rank": self.rank,
            "/apply-template": self.template,
            "/tokenize": self.tokenize,
            "/detokenize": self.detokenize,
        }
        routes = [Route(path, handler, methods=["POST"]) for path, handler in posts.items()]
        held = "/v1/answers/{job_id}"
        routes += [
            Route("/state", self.state),
            Route(held, self.held, methods=["GET"]),
            Route(held, self.cancel, methods=["DELETE"]),
            Route(f"{held}/stream", self.attach),
        ]
        return Starlette(routes=routes, exception_handlers=HANDLERS)

    async def run(self) -> None:
        made = server.listen("127.0.0.1", self.port)
        self.url = self.url or server.url_of(made)
        async with Http() as http, anyio.create_task_group() as group:
            self._group = group
            beater = Beater(http, self.queen, lambda seq: self.beat(beater.incarnation, seq))
            self.poke = beater.poke
            await server.serve(server.Served(self.app(), made, self.url, [beater.loop]))
            group.cancel_scope.cancel()


def prompt_of(infer: Infer) -> str:
    """The last message's text, or the prompt."""
    if infer.messages is None:
        prompt = infer.prompt
        return prompt if isinstance(prompt, str) else " ".join(map(str, prompt or []))
    content = infer.messages[-1].content
    if isinstance(content, list):
        return "".join(part.text for part in content if isinstance(part, TextPart))
    return content or ""


def _logprobs(text: str, index: int, wanted: int | None) -> list[Logprob] | None:
    if wanted is None:
        return None
    raw = list(text.encode())
    top = [Logprob(token_id=i, text=text, logprob=-0.5 * (i + 1), bytes=raw) for i in range(wanted)]
    return [Logprob(token_id=index + 100, text=text, logprob=-0.5, bytes=raw, top=top)]


def _unscored(text: str, wanted: int | None) -> list[Logprob] | None:
    """The prompt is one token here, and nothing comes before it."""
    return None if wanted is None else [Logprob(7, text, None, list(text.encode()))]


if __name__ == "__main__":
    pairs = list(pairwise(sys.argv[1:]))[::2]
    stub = StubWorker({a.removeprefix("--"): b for a, b in pairs})
    server.run(stub.run)
