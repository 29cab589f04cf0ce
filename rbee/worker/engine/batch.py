"""What one step computes. Plain data, and how a prompt is cut into it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from rbee.worker.engine.backend import Chunk
from rbee.worker.engine.patience import Load
from rbee.worker.engine.sequence import Sequence


@dataclass(frozen=True)
class Batch:
    """What one step computes: chunks in their order, and whose they are."""

    chunks: tuple[Chunk, ...] = ()
    owners: tuple[Sequence | None, ...] = ()
    """None for a filler."""
    adapter: str = ""
    decoding: int = 0
    prompt_tokens: int = 0
    behind: int = 0
    """Tokens in memory that the farthest-looking of its own looks back at."""

    def load(self, moved: int) -> Load:
        """What it is to whoever waits for it; `moved`: bytes of memory, for its sake."""
        cells = sum(chunk.cells for chunk in self.chunks)
        breaks = sum(b.slot != a.slot + 1 for a, b in pairwise(self.chunks))
        return Load(cells, self.behind + cells, breaks + 1, moved)

    @property
    def sequences(self) -> list[Sequence]:
        return [owner for owner in self.owners if owner is not None]


def prompt_chunk(sequence: Sequence, room: int, rows: int) -> Chunk | None:
    """The next tokens of a prompt, as many as there is room for, and rows where it is scored; None
    when there is none. A picture is a chunk of its own, and whole: it may take more room than there
    is."""
    most = min(room, rows) if sequence.scored else room
    count = min(sequence.pending, most)
    if count <= 0:
        return None
    if (image := sequence.images.get(sequence.computed)) is not None:
        places = sequence.tokens(image.places)
        return Chunk(sequence.slot, sequence.computed, places, image=image)
    count = min(count, sequence.text_ahead)
    ripe = count == sequence.pending
    outputs = count if sequence.scored and not sequence.answer else int(ripe)
    return Chunk(sequence.slot, sequence.computed, sequence.tokens(count), outputs)
