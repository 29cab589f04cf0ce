"""`/v1/responses` while it is streamed: rbee's events as that API's events. Pure.

Every item is announced, filled and closed (`added`, `delta`, `done`), one at a time and in the
order in which the model speaks; the last event repeats all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from rbee.contracts.chat import ToolCall
from rbee.contracts.events import AnyEvent, Done, Failed, Logprob, Token
from rbee.queen.openai import responses_items as items
from rbee.queen.openai.responses_requests import ResponsesRequest
from rbee.wire.codec import encode
from rbee.wire.fold import reason_of
from rbee.wire.problems import from_failed, problem

Kind = Literal["msg", "rs"]
_EVENTS: dict[Kind, str] = {"msg": "response.output_text", "rs": "response.reasoning_text"}


class _Open:
    """The item that is being filled."""

    def __init__(self, kind: Kind, name: str, index: int) -> None:
        self.kind: Kind = kind
        self.name = name
        self.place = {"item_id": name, "output_index": index, "content_index": 0}
        self.texts: list[str] = []
        self.logprobs: list[Logprob] = []

    def part(self, text: str) -> items.Json:
        if self.kind == "rs":
            return items.reasoning_part(text)
        return items.part(text, self.logprobs)

    def item(self, text: str | None, status: str) -> items.Json:
        if self.kind == "rs":
            return items.reasoning_item(self.name, text, status)
        return items.text_item(self.name, [] if text is None else [self.part(text)], status)


class ResponseEvents:
    """A `Translate` from events to the API's streaming events."""

    def __init__(self, job_id: str, asked: ResponsesRequest, created: int) -> None:
        self._job_id = job_id
        self._asked = asked
        self._created = created
        self._sent = 0
        self._open: _Open | None = None
        self._closed: list[items.Json] = []

    def __call__(self, number: int, events: Sequence[AnyEvent]) -> bytes:
        begin = b"" if self._sent else self._created_events()
        return begin + b"".join(self._translate(event) for event in events)

    def _created_events(self) -> bytes:
        empty = items.whole(self._job_id, self._asked, self._created, [], None, None)
        names = ("response.created", "response.in_progress")
        return b"".join(self._frame(name, response=empty) for name in names)

    def _translate(self, event: AnyEvent) -> bytes:
        if isinstance(event, Token):
            return self._token(event)
        if isinstance(event, Done):
            return self._done(event)
        if isinstance(event, Failed):
            found = problem(from_failed(event))
            return self._frame("error", code=found.code, message=found.message, param=found.param)
        return b""

    def _token(self, event: Token) -> bytes:
        made = self._say("rs", event.reasoning, []) if event.reasoning else b""
        if event.text:
            made += self._say("msg", event.text, event.logprobs or [])
        elif event.logprobs and self._open is not None and self._open.kind == "msg":
            self._open.logprobs += event.logprobs  # tokens whose text was held back for good
        for call in event.tool_calls or ():
            made += self._end("completed") + self._call(call)
        return made

    def _say(self, kind: Kind, text: str, logprobs: list[Logprob]) -> bytes:
        begin = self._begin(kind)
        assert self._open is not None, "begun just now"
        self._open.texts.append(text)
        self._open.logprobs += logprobs
        more = {} if kind == "rs" else {"logprobs": items.part("", logprobs)["logprobs"]}
        return begin + self._frame(f"{_EVENTS[kind]}.delta", **self._open.place, **more, delta=text)

    def _begin(self, kind: Kind) -> bytes:
        if self._open is not None and self._open.kind == kind:
            return b""
        before, index = self._end("completed"), len(self._closed)
        self._open = _Open(kind, items.item_id(kind, self._job_id, index), index)
        item = self._open.item(None, "in_progress")
        return (
            before
            + self._frame("response.output_item.added", output_index=index, item=item)
            + self._frame(
                "response.content_part.added", **self._open.place, part=self._open.part("")
            )
        )

    def _end(self, status: str) -> bytes:
        """Close what is open."""
        if self._open is None:
            return b""
        done, self._open = self._open, None
        text, index = "".join(done.texts), len(self._closed)
        part, item = done.part(text), done.item(text, status)
        self._closed.append(item)
        more = {} if done.kind == "rs" else {"logprobs": part["logprobs"]}
        return (
            self._frame(f"{_EVENTS[done.kind]}.done", **done.place, **more, text=text)
            + self._frame("response.content_part.done", **done.place, part=part)
            + self._frame("response.output_item.done", output_index=index, item=item)
        )

    def _call(self, call: ToolCall) -> bytes:
        item, index = items.call_item(call), len(self._closed)
        self._closed.append(item)
        where = {"item_id": item["id"], "output_index": index}
        text, name = call.function.arguments, call.function.name
        end = "response.function_call_arguments"
        begun = {**item, "arguments": "", "status": "in_progress"}
        return (
            self._frame("response.output_item.added", output_index=index, item=begun)
            + self._frame(f"{end}.delta", **where, delta=text)
            + self._frame(f"{end}.done", **where, arguments=text, name=name)
            + self._frame("response.output_item.done", output_index=index, item=item)
        )

    def _done(self, done: Done) -> bytes:
        reason = reason_of(done, 0)
        empty = b"" if self._closed or self._open else self._begin("msg")
        made = empty + self._end(items.status_of(reason))
        last = items.whole(
            self._job_id, self._asked, self._created, self._closed, reason, done.usage
        )
        return made + self._frame(f"response.{last['status']}", response=last)

    def _frame(self, kind: str, **fields: Any) -> bytes:
        body = encode({"type": kind, "sequence_number": self._sent, **fields})
        self._sent += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), body)
