"""Streams that run beside something else, and must not notice it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.bee import known_answers as known
from tests.http import listening

ASKED = ("Count from 1 to 10.", "List the months of the year.", "What is rbee?")
"""Answers that no neighbour in a batch can change: see `known_answers`."""


class Streams(threading.Thread):
    """Asks `url` for one known answer after the other, until told to stop."""

    def __init__(self, url: str) -> None:
        super().__init__(name="beside", daemon=True)
        self._url = url
        self._enough = threading.Event()
        self.heard = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        while not self._enough.is_set() and not self.wrong:
            asked = ASKED[self.heard % len(ASKED)]
            try:
                said = self._answer(asked)
            except Exception as exc:  # told to the test, whose thread it did not happen in
                self.wrong.append(repr(exc))
            else:
                self.heard += 1
                if said != known.ANSWERS[asked]:
                    self.wrong.append(said)

    def stop(self) -> None:
        self._enough.set()
        self.join(60)
        assert not self.is_alive() and not self.wrong, self.wrong
        assert self.heard, "no stream was heard to its end"

    def _answer(self, asked: str) -> str:
        message = {"role": "user", "content": asked}
        body: dict[str, Any] = {"operation": "infer", "model": "bee", "messages": [message]}
        with listening("POST", self._url, body) as (_, events):
            seen = [event for _, event in events]
        assert seen[-1]["type"] == "done", seen[-1]
        return "".join(event["text"] for event in seen if event["type"] == "token")


@contextmanager
def streams_beside(url: str) -> Iterator[Streams]:
    """Known answers stream from `url`, again and again; on leaving, all must have been right."""
    streams = Streams(url)
    streams.start()
    try:
        yield streams
    finally:
        streams.stop()
