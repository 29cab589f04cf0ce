"""What a reasoning model thinks before it answers, told apart from the answer.

1. A span counts where an answer begins, and right behind another span. Marks that come after the
   first word of the answer are text: a model may well speak about them.
2. Whether there are spans is the template's to say: it mentions the mark. Where the prompt ends
   with an open mark, the answer begins inside the span.
3. Newlines next to the marks are dropped. An unfinished span is reasoning to its end.
"""

from __future__ import annotations

from dataclasses import dataclass

from rbee.worker.engine.text import overlap


@dataclass(frozen=True)
class Marks:
    """What a span stands between."""

    opening: str
    closing: str


KNOWN = (
    Marks("<think>", "</think>"),
    Marks("<|START_THINKING|>", "<|END_THINKING|>"),
    Marks("[THINK]", "[/THINK]"),
)


def marks_of(template: str) -> Marks | None:
    """The marks that a model's template knows: those of a reasoning model."""
    return next((m for m in KNOWN if m.opening in template or m.closing in template), None)


def is_open(rendered: str, marks: Marks) -> bool:
    """Whether a prompt leaves the answer to begin inside a span."""
    return rendered.rstrip().endswith(marks.opening)


class ReasoningReader:
    """Feeds on text; gives back (reasoning, text of the answer), whatever pieces the text is in."""

    def __init__(self, marks: Marks, inside: bool) -> None:
        self._marks = marks
        self._held = ""
        self.inside = inside
        self._fresh = True
        """Nothing of this span was said yet: newlines are dropped."""
        self._thought_before = inside
        self._answering = False

    def feed(self, text: str, *, final: bool = False) -> tuple[str, str]:
        if self._answering:
            return "", text
        self._held += text
        thoughts = ""
        while not self._answering:
            if self.inside:
                thoughts += self._thought(final)
                if self.inside:
                    return thoughts, ""
            elif not self._opened(final):
                return thoughts, ""
        said, self._held = self._held, ""
        return thoughts, said

    def _thought(self, final: bool) -> str:
        """What of the span is certain; leaves the span when its end is there."""
        if self._fresh:
            self._held = self._held.lstrip("\n")
            self._fresh = not self._held
        thought, found, behind = self._held.partition(self._marks.closing)
        if found or final:
            self._held, self.inside = behind, not found
            return thought.rstrip("\n")
        certain = self._held[: len(self._held) - overlap(self._held, self._marks.closing)]
        certain = certain.rstrip("\n")
        self._held = self._held[len(certain) :]
        return certain

    def _opened(self, final: bool) -> bool:
        """Whether it is decided how it goes on: with another span, or with the answer."""
        begin = self._held.lstrip()
        if begin.startswith(self._marks.opening):
            self._held = begin[len(self._marks.opening) :]
            self.inside = self._fresh = self._thought_before = True
            return True
        if not final and self._marks.opening.startswith(begin):
            return False
        if self._thought_before:
            self._held = self._held.lstrip("\n")
        self._answering = True
        return True
