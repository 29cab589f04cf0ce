"""An answer that something happened to, beside the same answer undisturbed. Pure.

Where the dialect numbers its tokens, lost and repeated characters are those of the numbers that are
missing or come twice. Where it does not, the text must do: what remains behind the first difference
is looked for at the end of the other text. Texts that differ in another way are neither, and are
told with the place.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass

from rbee.keeper.chaos.heard import Heard, Piece
from rbee.keeper.chaos.plan import Reference

CONTEXT = 24
"""Characters shown of a difference."""


@dataclass(frozen=True)
class Loss:
    """What is wrong with an answer: characters lost and repeated, and the first difference."""

    lost: int = 0
    repeated: int = 0
    differs: str = ""

    @property
    def none(self) -> bool:
        return not (self.lost or self.repeated or self.differs)


def compare(heard: Heard, reference: Reference, parses: bool = False) -> Loss:
    """Every choice of an answer that ended well."""
    lost = repeated = 0
    differs = ""
    for choice, expected in enumerate(reference.texts):
        pieces = [piece for piece in heard.pieces if piece.choice == choice]
        found = _choice(choice, pieces, heard.text(choice), expected, reference)
        lost, repeated = lost + found.lost, repeated + found.repeated
        differs = differs or found.differs
    differs = differs or _extras(heard, reference, parses)
    return Loss(lost, repeated, differs)


def _choice(
    choice: int, pieces: list[Piece], said: str, expected: str, reference: Reference
) -> Loss:
    numbered = any(piece.index is not None for piece in pieces)
    lost, repeated = _by_number(choice, pieces, reference) if numbered else _by_text(said, expected)
    if said == expected or lost or repeated:
        return Loss(lost, repeated)
    return Loss(differs=f"choice {choice}: {difference(said, expected)}")


def _by_number(choice: int, pieces: list[Piece], reference: Reference) -> tuple[int, int]:
    """(lost, repeated) characters, by the numbers of the tokens."""
    lost = repeated = due = 0
    for piece in pieces:
        index = piece.index if piece.index is not None else due
        end = index + piece.tokens
        if index > due:
            lost += _characters(choice, due, index, reference)
        elif index < due:
            repeated += _characters(choice, index, min(due, end), reference)
        due = max(due, end)
    total = reference.tokens[choice] if choice < len(reference.tokens) else 0
    return lost + (_characters(choice, due, total, reference) if due < total else 0), repeated


def _characters(choice: int, first: int, end: int, reference: Reference) -> int:
    """How much text the tokens from `first` to `end` are; a token is at least one, since one that
    says nothing by itself is none the less lost."""
    return max(_said(choice, end, reference) - _said(choice, first, reference), end - first)


def _said(choice: int, tokens: int, reference: Reference) -> int:
    """Characters that so many tokens had said in the undisturbed answer."""
    ends = reference.ends.get(choice, ())
    place = bisect_right(ends, tokens, key=lambda end: end[0])
    return ends[place - 1][1] if place else 0


def _by_text(said: str, expected: str) -> tuple[int, int]:
    """(lost, repeated) characters, by what follows the first difference; neither where the texts
    do not meet again."""
    same = common(said, expected)
    if len(said) < len(expected) and expected.endswith(said[same:]):
        return len(expected) - len(said), 0
    if len(said) > len(expected) and said.endswith(expected[same:]):
        return 0, len(said) - len(expected)
    return 0, 0


def common(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def difference(said: str, expected: str) -> str:
    """Where two texts part, with what each goes on with."""
    same = common(said, expected)
    was, should = said[same : same + CONTEXT], expected[same : same + CONTEXT]
    return f"from character {same} on it says {was!r} and not {should!r}"


def _extras(heard: Heard, reference: Reference, parses: bool) -> str:
    """What can be wrong beside the text."""
    beyond = [choice for choice in heard.choices if choice >= len(reference.texts)]
    if beyond:
        return f"choice {beyond[0]} was not asked for"
    scored = sum(piece.scored for piece in heard.pieces)
    if scored != reference.scored:
        return f"{scored} tokens came with their log probability, not {reference.scored}"
    for choice in heard.choices if parses else ():
        try:
            json.loads(heard.text(choice))
        except ValueError as exc:
            return f"choice {choice} is no JSON: {exc}"
    return ""


def reference_of(heard: Heard) -> Reference:
    """What an undisturbed answer says, to compare others with."""
    choices = heard.choices
    ends: dict[int, tuple[tuple[int, int], ...]] = {}
    for choice in choices:
        tokens = characters = 0
        marks: list[tuple[int, int]] = []
        for piece in heard.pieces:
            if piece.choice == choice:
                tokens, characters = tokens + piece.tokens, characters + len(piece.text)
                marks.append((tokens, characters))
        ends[choice] = tuple(marks)
    return Reference(
        texts=tuple(heard.text(choice) for choice in choices),
        pieces=sum(1 for piece in heard.pieces if piece.text),
        tokens=tuple(ends[choice][-1][0] for choice in choices),
        ends=ends,
        scored=sum(piece.scored for piece in heard.pieces),
    )
