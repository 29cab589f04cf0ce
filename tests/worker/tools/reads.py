"""A reader fed with pieces, and what it made of them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rbee.worker.tools.reader import CallReader

Calls = list[tuple[str, str]]
"""Names with arguments."""
Found = tuple[str, Calls]


def read(make: Callable[[], CallReader], pieces: Sequence[str]) -> Found:
    """The text that is no call, and the calls; checks that they are numbered and named apart."""
    reader = make()
    fed = [reader.feed(piece) for piece in pieces]
    fed.append(reader.feed("", final=True))
    found = [call for _, calls in fed for call in calls]
    assert [c.index for c in found] == list(range(len(found))) and reader.found == len(found)
    assert len({c.id for c in found}) == len(found)
    text = "".join(said for said, _ in fed)
    return text, [(c.function.name, c.function.arguments) for c in found]
