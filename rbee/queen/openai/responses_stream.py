"""`/v1/responses` while it is streamed: rbee's events as that API's events. Pure.

Every piece is announced, filled and closed (`added`, `delta`, `done`), and the last event repeats
the whole answer; so the text is folded on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rbee.contracts.answers import Choice
from rbee.contracts.chat import ToolCall
from rbee.contracts.events import AnyEvent, Done, Failed, Token
from rbee.queen.openai.responses import call_item, part, text_item, whole
from rbee.queen.openai.responses_requests import ResponsesRequest
from rbee.queen.openai.shapes import suffix_of
from rbee.wire.codec import encode
from rbee.wire.fold import Fold
from rbee.wire.problems import from_failed, problem


class ResponseEvents:
    """A `Translate` from events to the API's streaming events."""

    def __init__(self, job_id: str, asked: ResponsesRequest, created: int) -> None:
        self._job_id = job_id
        self._asked = asked
        self._created = created
        self._fold = Fold()
        self._sent = 0
        self._open = False
        """Whether the text item has begun."""
        self._place = {"item_id": f"msg_{suffix_of(job_id)}", "output_index": 0, "content_index": 0}

    def __call__(self, number: int, events: Sequence[AnyEvent]) -> bytes:
        begin = b"" if self._sent else self._created_events()
        self._fold.add(events)
        return begin + b"".join(self._translate(event) for event in events)

    def _created_events(self) -> bytes:
        empty = whole(self._job_id, self._asked, self._created, None, None)
        names = ("response.created", "response.in_progress")
        return b"".join(self._frame(name, response=empty) for name in names)

    def _translate(self, event: AnyEvent) -> bytes:
        if isinstance(event, Token) and event.text:
            begin = self._begin_text()
            where = {**self._place, "logprobs": []}
            return begin + self._frame("response.output_text.delta", **where, delta=event.text)
        if isinstance(event, Done):
            return self._done(event)
        if isinstance(event, Failed):
            found = problem(from_failed(event))
            return self._frame("error", code=found.code, message=found.message, param=found.param)
        return b""

    def _begin_text(self) -> bytes:
        if self._open:
            return b""
        self._open = True
        item = text_item(self._job_id, "", None)
        return self._frame("response.output_item.added", output_index=0, item=item) + self._frame(
            "response.content_part.added", **self._place, part=part("")
        )

    def _done(self, done: Done) -> bytes:
        choice = self._fold.answer(self._job_id, done).choices[0]
        made = b"" if choice.tool_calls else self._begin_text()
        if self._open:
            made += self._end_text(choice)
        for index, call in enumerate(choice.tool_calls or (), int(self._open)):
            made += self._call(index, call)
        last = whole(self._job_id, self._asked, self._created, choice, done.usage)
        return made + self._frame(f"response.{last['status']}", response=last)

    def _end_text(self, choice: Choice) -> bytes:
        item = text_item(self._job_id, choice.text, choice.finish_reason)
        text, place = part(choice.text), self._place
        return (
            self._frame("response.output_text.done", **place, text=choice.text, logprobs=[])
            + self._frame("response.content_part.done", **place, part=text)
            + self._frame("response.output_item.done", output_index=0, item=item)
        )

    def _call(self, index: int, call: ToolCall) -> bytes:
        item = call_item(call)
        where = {"item_id": item["id"], "output_index": index}
        text = call.function.arguments
        begun = {**item, "arguments": "", "status": "in_progress"}
        return (
            self._frame("response.output_item.added", output_index=index, item=begun)
            + self._frame("response.function_call_arguments.delta", **where, delta=text)
            + self._frame(
                "response.function_call_arguments.done",
                **where,
                arguments=text,
                name=call.function.name,
            )
            + self._frame("response.output_item.done", output_index=index, item=item)
        )

    def _frame(self, kind: str, **fields: Any) -> bytes:
        body = encode({"type": kind, "sequence_number": self._sent, **fields})
        self._sent += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), body)
