"""Frames survive any network: however the bytes are cut, the events are the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.wire import sse

LINE = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20).map(
    lambda s: s.encode()
)
COMMENT = LINE.map(lambda line: b":" + line + b"\n\n")
Piece = tuple[bytes, list[bytes]]
"""Bytes on the wire, and the events in them."""


def numbered(data: bytes, number: int | None) -> Piece:
    return sse.frame(data, number), [data]


def in_lines(lines: list[bytes]) -> Piece:
    return b"".join(b"data: %b\n" % x for x in lines) + b"\n", [b"\n".join(lines)]


PIECE: st.SearchStrategy[Piece] = st.one_of(
    st.builds(numbered, LINE, st.none() | st.integers(0, 2**31)),
    st.lists(LINE, min_size=1, max_size=3).map(in_lines),
    COMMENT.map(lambda c: (c, [])),
    st.just((b"event: x\nretry: 5\n\n", [])),
    st.just((b"event: x\ndata:tight\n\n", [b"tight"])),
    st.just((b": c\ndata: x\n\n", [b"x"])),
    st.just((b"\n", [])),
)


@given(st.lists(PIECE, max_size=8), st.booleans(), st.data())
def test_any_cutting_gives_the_same_events(
    pieces: list[Piece], windows: bool, data: st.DataObject
) -> None:
    whole = b"".join(raw for raw, _ in pieces)
    if windows:
        whole = whole.replace(b"\n", b"\r\n")
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=12))
    edges = [0, *sorted(cuts), len(whole)]
    reader = sse.FrameReader()
    got = [event for a, b in pairwise(edges) for event in reader.feed(whole[a:b])]
    assert got == [event for _, events in pieces for event in events]


@given(st.lists(st.tuples(LINE, st.none() | st.integers(0, 2**31)), max_size=6), st.data())
def test_numbers_come_with_their_events(
    events: list[tuple[bytes, int | None]], data: st.DataObject
) -> None:
    whole = sse.KEEP_ALIVE + b"".join(sse.frame(line, number) for line, number in events)
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=6))
    reader = sse.FrameReader()
    edges = pairwise([0, *sorted(cuts), len(whole)])
    got = [found for a, b in edges for found in reader.numbered(whole[a:b])]
    assert got == [(number, line) for line, number in events]


@pytest.mark.parametrize("number", [b"x", b"-1", b"", b"9" * 16, "\u0662".encode()])
def test_a_number_that_is_none_is_refused(number: bytes) -> None:
    with pytest.raises(ValueError, match="whose id is"):
        list(sse.FrameReader().numbered(b"id: %b\ndata: x\n\n" % number))


def test_byte_by_byte_with_windows_line_ends() -> None:
    reader = sse.FrameReader()
    raw = b": hi\r\n\r\nid: 1\r\ndata: a\r\n\r\ndata: b\r\n\r\n"
    assert [e for i in range(len(raw)) for e in reader.feed(raw[i : i + 1])] == [b"a", b"b"]


def test_an_unfinished_event_is_not_told() -> None:
    assert list(sse.FrameReader().feed(b"data: half\n")) == []


def test_an_endless_event_is_refused() -> None:
    reader = sse.FrameReader()
    chunk = b"x" * (1024 * 1024)
    with pytest.raises(ValueError, match="more than"):
        for _ in range(17):
            list(reader.feed(chunk))


def test_many_small_events_are_no_endless_one() -> None:
    reader = sse.FrameReader()
    chunk = sse.frame(b"x" * 1_000_000)
    assert sum(len(list(reader.feed(chunk))) for _ in range(20)) == 20


def test_done_and_comments_are_frames() -> None:
    reader = sse.FrameReader()
    assert list(reader.feed(sse.KEEP_ALIVE + sse.DONE)) == [b"[DONE]"]
