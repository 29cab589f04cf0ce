"""From tokens to text that is certain: no half characters, no beginning of a stop string.

Pure and small; knows no engine. One assembler for each choice of each request.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class Assembler:
    """Feeds on the bytes of tokens; gives text back as soon as it can no longer change."""

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = tuple(stops)
        self._held = ""
        self.stop: str | None = None
        """The stop string that was found; it and what follows are not part of the answer."""

    @property
    def stopped(self) -> bool:
        return self.stop is not None

    def feed(self, piece: bytes) -> str:
        """Text that has become certain."""
        return self._release(self._decoder.decode(piece), final=False)

    def finish(self) -> str:
        """What was held back, at the end of the answer; a cut character becomes U+FFFD."""
        return self._release(self._decoder.decode(b"", True), final=True)

    def _release(self, fresh: str, *, final: bool) -> str:
        if self.stopped:
            return ""
        if not self._stops:
            return fresh
        text = self._held + fresh
        found = [(at + len(s), at, s) for s in self._stops if (at := text.find(s)) >= 0]
        if found:
            # The first to be complete decides, so that it does not matter how tokens cut the text.
            _, at, self.stop = min(found)
            self._held = ""
            return text[:at]
        keep = 0 if final else max(overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def overlap(text: str, mark: str) -> int:
    """The length of the longest proper beginning of `mark` with which `text` ends."""
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if text.endswith(mark[:length]):
            return length
    return 0
