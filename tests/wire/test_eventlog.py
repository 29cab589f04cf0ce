"""One writer, many readers: each reader sees every event exactly once, or is told it cannot."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rbee.contracts.events import AnyEvent, Done, Failed, Token
from rbee.errors import Gone
from rbee.wire.eventlog import EventLog

LAST = st.sampled_from([Done(finish_reason="stop"), Failed(code="cancelled", message="x")])


def token(number: int) -> Token:
    return Token(index=number, text="", token_ids=[number])


class Readers(RuleBasedStateMachine):
    """Every event ever appended is kept here in full; the log keeps a ring of them."""

    def __init__(self) -> None:
        super().__init__()
        self.truth: list[AnyEvent] = []
        self.ended = False
        self.cursors: list[int] = []
        self.seen: list[list[AnyEvent]] = []

    @initialize(ring=st.integers(1, 6))
    def start(self, ring: int) -> None:
        self.ring = ring
        self.log = EventLog(ring)

    @rule(count=st.integers(0, 9))
    def write(self, count: int) -> None:
        events = [token(len(self.truth) + i) for i in range(count)]
        self.log.append(*events)
        if not self.ended:
            self.truth += events

    @rule(last=LAST, after=st.booleans())
    def end(self, last: Any, after: bool) -> None:
        self.log.append(last, *([token(99)] if after else []))
        if not self.ended:
            self.truth.append(last)
        self.ended = True

    @rule(data=st.data())
    def attach(self, data: st.DataObject) -> None:
        self.cursors.append(data.draw(st.integers(0, len(self.truth) + 2)))
        self.seen.append([])

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        if not self.cursors:
            return
        who = data.draw(st.integers(0, len(self.cursors) - 1))
        cursor = self.cursors[who]
        if cursor < len(self.truth) - self.ring:
            with pytest.raises(Gone):
                self.log.since(cursor)
            return
        got = list(self.log.since(cursor))
        assert got == self.truth[cursor:]
        self.cursors[who] += len(got)
        self.seen[who] += got

    @invariant()
    def everything_once_and_in_order(self) -> None:
        for cursor, seen in zip(self.cursors, self.seen, strict=True):
            assert seen == self.truth[cursor - len(seen) : cursor]

    @invariant()
    def the_log_knows_its_end(self) -> None:
        if hasattr(self, "log"):
            assert self.log.total == len(self.truth)
            assert self.log.ended == self.ended
            assert (self.log.last is self.truth[-1]) if self.ended else self.log.last is None


TestReaders = Readers.TestCase
TestReaders.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.mark.anyio
async def test_many_readers_of_a_running_log() -> None:
    log = EventLog()
    seen: dict[int, list[int]] = {}

    async def read(first: int) -> None:
        cursor = first
        seen[first] = []
        while not (log.ended and cursor >= log.total):
            await log.wait(cursor)
            events = log.since(cursor)
            cursor += len(events)
            seen[first] += [e.index for e in events if isinstance(e, Token)]
            if cursor % (first + 2) == 0:
                await anyio.lowlevel.checkpoint()  # readers of different speeds

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            for first in range(5):
                group.start_soon(read, first)
            for i in range(200):
                log.append(token(i))
                if i % 7 == 0:
                    await anyio.lowlevel.checkpoint()
            log.append(Done(finish_reason="stop"))
    assert seen == {first: list(range(first, 200)) for first in range(5)}


@pytest.mark.anyio
async def test_waiting_past_the_end_returns() -> None:
    log = EventLog()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(log.wait, 1_000)
            await anyio.lowlevel.checkpoint()
            log.append(Done(finish_reason="stop"))
    assert log.since(1_000) == ()


@pytest.mark.anyio
async def test_a_reader_waits_for_its_own_event() -> None:
    """One that resumes further on is not woken into an empty read."""
    log = EventLog()
    log.append(token(0))
    with anyio.move_on_after(0.05) as scope:
        await log.wait(1)
    assert scope.cancelled_caught
