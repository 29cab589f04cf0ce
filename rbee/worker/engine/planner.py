"""What the next step computes: who has a slot, who waits, which tokens go into the batch. Pure.

1. A free slot goes to the waiting sequence of the highest priority, in order of arrival.
2. Running sequences first, one token each; then prompts, in chunks, within the step's budget, the
   longest-running prompt first. A long prompt thus never stalls running streams.
3. A slot is given back in the step in which its sequence ends or is cancelled.

Law: free + held slots = all slots; every sequence is in exactly one of waiting, running, gone.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence as Items
from dataclasses import dataclass, field

from rbee.worker.engine.backend import Chunk


@dataclass(eq=False)
class Sequence:
    """One choice of one request on its way through the engine."""

    request: str
    choice: int
    prompt: Items[int]
    limit: int
    """New tokens at most."""
    priority: int = 0
    answer: list[int] = field(default_factory=list)
    computed: int = 0
    """Tokens of prompt and answer that are in the slot's memory."""
    slot: int = -1
    """-1 while waiting and when gone."""

    def __repr__(self) -> str:
        return (
            f"<Sequence {self.request}/{self.choice} slot {self.slot}"
            f" {self.computed} of {len(self.prompt)}+{len(self.answer)}>"
        )

    @property
    def pending(self) -> int:
        """Tokens known but not yet computed."""
        return len(self.prompt) + len(self.answer) - self.computed

    def tokens(self, count: int) -> list[int]:
        """The next `count` tokens to compute."""
        start, cut = self.computed, len(self.prompt)
        if start >= cut:
            return self.answer[start - cut : start - cut + count]
        return list(self.prompt[start : start + count])


@dataclass(frozen=True)
class Batch:
    """What one step computes: chunks, and the sequence that each belongs to."""

    chunks: tuple[Chunk, ...]
    owners: tuple[Sequence, ...]

    @property
    def ripe(self) -> list[tuple[int, Sequence]]:
        """(chunk number, sequence) for those that get a new token."""
        return [
            (i, s)
            for i, (chunk, s) in enumerate(zip(self.chunks, self.owners, strict=True))
            if chunk.ripe
        ]


class Planner:
    """The only owner of slots."""

    def __init__(self, slots: int, budget: int) -> None:
        self.slots = slots
        self._budget = max(budget, slots)
        self._free = list(range(slots))
        self._arrivals = 0
        self._waiting: list[tuple[int, int, Sequence]] = []
        self._running: list[Sequence] = []

    def __repr__(self) -> str:
        return f"<Planner {self.busy} of {self.slots} slots, {self.waiting} waiting>"

    @property
    def busy(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        return not self._running and not self._waiting

    def add(self, sequence: Sequence) -> None:
        """Take a sequence into the waiting line."""
        self._arrivals += 1
        heapq.heappush(self._waiting, (-sequence.priority, self._arrivals, sequence))

    def cancel(self, request: str) -> list[Sequence]:
        """Remove all sequences of a request; returns those removed."""
        gone = [s for s in self._running if s.request == request]
        waiting = [entry for entry in self._waiting if entry[2].request == request]
        for sequence in gone:
            self.end(sequence)
        if waiting:
            self._waiting = [e for e in self._waiting if e[2].request != request]
            heapq.heapify(self._waiting)
        return gone + [entry[2] for entry in waiting]

    def end(self, sequence: Sequence) -> None:
        """The sequence is complete: its slot is free."""
        self._running.remove(sequence)
        self._free.append(sequence.slot)
        sequence.slot = -1

    def admit(self) -> list[Sequence]:
        """Give free slots to those who wait; returns who got one."""
        admitted = []
        while self._free and self._waiting:
            sequence = heapq.heappop(self._waiting)[2]
            sequence.slot = self._free.pop()
            self._running.append(sequence)
            admitted.append(sequence)
        return admitted

    def next_batch(self) -> Batch:
        """The next step's work; empty when nothing runs."""
        chunks: list[Chunk] = []
        owners: list[Sequence] = []
        room = self._budget
        for sequence in sorted(self._running, key=lambda s: s.pending > 1):
            count = min(sequence.pending, room)
            if count == 0:
                continue
            ripe = count == sequence.pending
            tokens = sequence.tokens(count)
            chunks.append(Chunk(sequence.slot, sequence.computed, tokens, ripe))
            owners.append(sequence)
            room -= len(tokens)
        return Batch(tuple(chunks), tuple(owners))

    def advance(self, batch: Batch) -> None:
        """The batch has been computed."""
        for chunk, sequence in zip(batch.chunks, batch.owners, strict=True):
            sequence.computed += len(chunk.tokens)
