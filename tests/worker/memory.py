"""The memory that a planner's edits and batches act on, as a backend would keep it: no logits."""

from __future__ import annotations

from rbee.worker.engine.batch import Batch
from rbee.worker.engine.planner import Planner
from rbee.worker.engine.slots import Copy, Trim

Cell = tuple[str, int]
"""The namespace a token was computed for, and the token."""


class Memory:
    """Every slot's cells. Raises `AssertionError` for whatever llama.cpp would refuse."""

    def __init__(self, slots: int, context: int, pool: int = 0) -> None:
        self.cells: list[list[Cell]] = [[] for _ in range(slots)]
        self.context = context
        self.pool = pool
        self.copied = 0

    def edit(self, planner: Planner) -> None:
        for edit in planner.edits():
            match edit:
                case Copy(source, target, length):
                    assert source != target and len(self.cells[source]) >= length
                    self.cells[target] = self.cells[source][:length]
                    self.copied += 1
                case Trim(slot, length):
                    assert len(self.cells[slot]) >= length
                    del self.cells[slot][length:]

    def has_room(self, batch: Batch) -> bool:
        wanted = sum(len(chunk.tokens) for chunk in batch.chunks)
        return not self.pool or sum(map(len, self.cells)) + wanted <= self.pool

    def decode(self, batch: Batch) -> None:
        """Take the batch in; each sequence's memory is then what it should be, and only its own."""
        for chunk, owner in zip(batch.chunks, batch.owners, strict=True):
            cells = self.cells[chunk.slot]
            assert chunk.tokens and chunk.start == len(cells), "a gap, or an overlap"
            namespace = owner.namespace if owner is not None else "filler"
            cells += [(namespace, token) for token in chunk.tokens]
            assert len(cells) <= self.context
            if owner is None:
                continue
            known = [*owner.known, *owner.draft][: len(cells)]
            assert cells == [(owner.namespace, token) for token in known]
