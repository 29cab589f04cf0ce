"""One writer, many readers: each reader sees every event exactly once, or is told it cannot."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from rbee.contracts.events import AnyEvent, Done, Failed, Token
from rbee.errors import Gone
from rbee.wire.eventlog import PAUSE_EVENTS, EventLog, Reader

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
        most = data.draw(st.none() | st.integers(1, 5))
        got = list(self.log.since(cursor, most))
        assert got == (self.truth[cursor:] if most is None else self.truth[cursor:][:most])
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


class Lagging(RuleBasedStateMachine):
    """The writer knows at every moment whether somebody is far behind: from the log's word alone,
    given each time it changes, once."""

    def __init__(self) -> None:
        super().__init__()
        self.log = EventLog()
        self.told = False
        self.log.on_lag = self.hear
        self.readers: list[tuple[Reader, ExitStack]] = []

    def hear(self, lagging: bool) -> None:
        assert lagging != self.told, "told twice"
        self.told = lagging

    @rule(count=st.sampled_from([0, 1, 100, PAUSE_EVENTS // 2, PAUSE_EVENTS, PAUSE_EVENTS + 1]))
    def write(self, count: int) -> None:
        self.log.append(*[token(0)] * count)

    @rule(back=st.integers(0, 2 * PAUSE_EVENTS))
    def attach(self, back: int) -> None:
        """One that resumes far behind is noticed with the next event."""
        reader, stack = Reader(max(self.log.total - back, 0), lambda: None), ExitStack()
        stack.enter_context(self.log.read_by(reader))
        self.readers.append((reader, stack))
        self.write(1)

    @precondition(lambda self: self.readers)
    @rule(data=st.data(), count=st.integers(1, 2 * PAUSE_EVENTS))
    def read(self, data: st.DataObject, count: int) -> None:
        reader, _ = data.draw(st.sampled_from(self.readers))
        reader.cursor = min(reader.cursor + count, self.log.total)
        if self.log.lagging:
            self.log.weigh()

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.readers.pop(data.draw(st.integers(0, len(self.readers) - 1)))[1].close()

    @precondition(lambda self: not self.log.ended)
    @rule()
    def end(self) -> None:
        self.log.append(Done(finish_reason="stop"))

    @invariant()
    def the_writer_knows(self) -> None:
        assert self.told == self.log.lagging
        behind = max((self.log.total - r.cursor for r, _ in self.readers), default=0)
        if behind > PAUSE_EVENTS and not self.log.ended:
            assert self.told
        if behind <= PAUSE_EVENTS // 2:
            assert not self.told


TestLagging = Lagging.TestCase
TestLagging.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.mark.anyio
async def test_a_writer_can_wait_for_its_readers() -> None:
    log, reader = EventLog(), Reader(0, lambda: None)
    with anyio.fail_after(5), log.read_by(reader):
        await log.caught_up()
        log.append(*(token(i) for i in range(PAUSE_EVENTS + 1)))
        async with anyio.create_task_group() as group:
            group.start_soon(log.caught_up)
            await anyio.lowlevel.checkpoint()
            reader.cursor = PAUSE_EVENTS - 100
            log.weigh()
        assert not log.lagging


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["the reader leaves", "the answer ends"])
async def test_it_waits_no_longer_than_for(how: str) -> None:
    log = EventLog()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            with log.read_by(Reader(0, lambda: None)):
                log.append(*(token(i) for i in range(PAUSE_EVENTS + 1)))
                group.start_soon(log.caught_up)
                await anyio.lowlevel.checkpoint()
                if how == "the answer ends":
                    log.append(Done(finish_reason="stop"))
                    await log.caught_up()


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
