"""What the next step computes: who has a slot, who waits, which tokens go into the batch. Pure.

1. A free slot goes to the waiting sequence of the highest priority, in order of arrival; `slots`
   finds it one, with what is computed already. A sequence that must be alone waits for an empty
   worker, and nobody is let in beside it.
2. Running sequences first, one token each; then prompts, in chunks, within what `pace` allows, the
   longest-waiting prompt first. A batch runs under one adapter: different ones take turns.
3. `passes` puts the chunks in order; many gaps between slots are closed by a move.
4. When the pool is full, what free slots keep goes first, then the newest sequence of the lowest
   priority: it keeps its tokens, waits again, and is computed anew. Nobody is let in until somebody
   has left.
5. A request whose reader does not keep up is paused: it keeps its slots, no step computes it, and
   it is the first to give up its place in a full pool. Nobody waits for what it would compute.

Law: free + held slots = all slots; every sequence is in exactly one of waiting, running, gone.
"""

from __future__ import annotations

from collections.abc import Sequence as Items

from rbee.worker.engine.backend import SCORED_TOKENS, Chunk
from rbee.worker.engine.batch import Batch, prompt_chunk
from rbee.worker.engine.pace import Pace
from rbee.worker.engine.passes import Part, laid_out
from rbee.worker.engine.sequence import Sequence
from rbee.worker.engine.slots import Edit, Slot, Slots, Trim
from rbee.worker.engine.waiting import Waiting


class Planner:
    """The only owner of the waiting line and of who runs."""

    def __init__(
        self, slots: int, context: int, budget: int, *, pooled: bool = True, can_trim: bool = True
    ) -> None:
        self.slots = Slots(slots, context, pooled=pooled, can_trim=can_trim)
        self.pace = Pace(max(budget, slots))
        self._context = context
        self._pooled = pooled
        self._arrivals = 0
        self._waiting = Waiting()
        self._running: list[Sequence] = []
        self._paused: set[str] = set()
        """Requests, each with a sequence that waits or runs."""
        self._adapter = ""
        self._full = False
        """Somebody had to give up his place: nobody is let in before somebody has left."""
        self.preempted = 0

    def __repr__(self) -> str:
        return (
            f"<Planner {self.busy} of {len(self.slots)} slots,"
            f" {self.waiting} waiting, {self.paused} requests paused>"
        )

    @property
    def busy(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def paused(self) -> int:
        """Requests, of those that wait or run."""
        return len(self._paused)

    @property
    def idle(self) -> bool:
        """Nothing can be computed before the planner is told something."""
        if self._awake():
            return False
        first = self._waiting.first
        return first is None or not self._may_enter(first)

    def add(self, sequence: Sequence) -> None:
        """Take a sequence into the waiting line."""
        self._arrivals += 1
        sequence.arrival = self._arrivals
        self._wait(sequence)

    def cancel(self, request: str, choice: int | None = None) -> list[Sequence]:
        """Remove all sequences of a request, or one choice's; returns those removed."""

        def named(sequence: Sequence) -> bool:
            return sequence.request == request and choice in (None, sequence.choice)

        gone = [s for s in self._running if named(s)]
        for sequence in gone:
            self.end(sequence)
        gone += self._waiting.remove(named)
        if self._paused and not self._knows(request):
            self._paused.discard(request)
        return gone

    def pause(self, request: str) -> None:
        """Compute nothing of a request until `proceed`; of one that has ended there is nothing."""
        if self._knows(request):
            self._paused.add(request)
            for sequence in self._waiting.remove(lambda s: s.request == request):
                self._wait(sequence)

    def proceed(self, request: str) -> None:
        """Go on with a request that was paused."""
        self._paused.discard(request)
        for sequence in self._waiting.remove(lambda s: s.request == request):
            self._wait(sequence)

    def end(self, sequence: Sequence, *, keep: bool = True) -> None:
        """The sequence is complete: its slot is free. `keep` what it holds, unless in doubt."""
        self._running.remove(sequence)
        self.slots.release(sequence, keep=keep and not sequence.alone)
        self._full = False

    def admit(self) -> list[Sequence]:
        """Give free slots to those who wait; returns who got one."""
        admitted = []
        while (first := self._waiting.first) is not None and self._may_enter(first):
            sequence = self._waiting.pop()
            if sequence.alone:
                self.slots.clear()
            self.slots.place(sequence)
            self._running.append(sequence)
            admitted.append(sequence)
        return admitted

    def next_batch(self) -> Batch:
        """The next step's work; empty when nothing runs."""
        awake = self._awake()
        for sequence in awake:
            self._follow(sequence)
        ready = [s for s in awake if s.leader is None]
        adapter = self._turn(ready)
        ready = [s for s in ready if s.adapter == adapter]
        decoding = [s for s in ready if s.decoding]
        self._gather(decoding)
        parts: list[Part] = [(s, self._checked(s, alone=len(ready) == 1)) for s in decoding]
        room, rows = self.pace.allowance(len(decoding)), SCORED_TOKENS
        prompts: list[Part] = []
        for sequence in sorted((s for s in ready if not s.decoding), key=lambda s: s.arrival):
            chunk = prompt_chunk(sequence, room, rows)
            if chunk is not None:
                prompts.append((sequence, chunk))
                room -= chunk.cells
                rows -= chunk.outputs if sequence.scored else 0
        everyone = [*parts, *prompts]
        lengths = [self._length_in(slot) for slot in self.slots]
        if not self._pooled:
            everyone = laid_out(parts, prompts, lengths, self._context, fills=self._fills)
        return Batch(
            tuple(chunk for _, chunk in everyone),
            tuple(owner for owner, _ in everyone),
            adapter,
            len(decoding),
            sum(chunk.cells for _, chunk in prompts),
            behind=sum(lengths) if self._pooled else max((c.start for _, c in everyone), default=0),
        )

    def advance(self, batch: Batch) -> None:
        """The batch has been computed."""
        for chunk, owner in zip(batch.chunks, batch.owners, strict=True):
            if owner is None:
                self.slots.edits.append(Trim(chunk.slot, chunk.start))
            else:
                owner.computed += len(chunk.tokens)

    def rewind(self, sequence: Sequence) -> None:
        """Forget what was computed of a draft that did not come true: the newest token is always
        computed by the next step."""
        if sequence.computed > sequence.length - 1:
            sequence.computed = sequence.length - 1
            self.slots.edits.append(Trim(sequence.slot, sequence.computed))

    def make_room(self) -> bool:
        """The pool is full: give something up. False when one sequence alone has no room."""
        if self.slots.evict():
            return True
        if len(self._running) < 2:
            return False
        loser = min(
            self._running, key=lambda s: (s.request not in self._paused, s.priority, -s.arrival)
        )
        self._running.remove(loser)
        self.slots.release(loser, keep=False)
        loser.computed, loser.leader = 0, None
        self._wait(loser)
        self.preempted += 1
        self._full = True
        return True

    def lost(self, slot: int) -> None:
        """What is in a slot could not be cut: it is computed anew, and nothing is cut any more."""
        self.slots.lose(slot)

    def edits(self) -> list[Edit]:
        """What the memory needs before the next batch is computed; handed over once."""
        found, self.slots.edits = self.slots.edits, []
        return found

    @property
    def _fills(self) -> bool:
        return self.slots.can_trim and not self._pooled

    def _awake(self) -> list[Sequence]:
        """Those who run and are not paused."""
        if not self._paused:
            return self._running
        return [s for s in self._running if s.request not in self._paused]

    def _knows(self, request: str) -> bool:
        return any(s.request == request for s in (*self._running, *self._waiting))

    def _wait(self, sequence: Sequence) -> None:
        self._waiting.add(sequence, aside=sequence.request in self._paused)

    def _may_enter(self, sequence: Sequence) -> bool:
        if not self._running:
            return True
        if sequence.alone or any(s.alone for s in self._running):
            return False
        if self._full and self._awake():
            return False
        return self.busy < len(self.slots)

    def _follow(self, sequence: Sequence) -> None:
        leader = sequence.leader
        if leader is not None and (
            leader.slot < 0 or leader.computed >= sequence.shares or leader.request in self._paused
        ):
            self.slots.adopt(sequence)

    def _turn(self, ready: Items[Sequence]) -> str:
        """Whose adapter this step runs under: each in turn."""
        adapters = sorted({s.adapter for s in ready})
        if not adapters:
            return ""
        later = [a for a in adapters if a > self._adapter]
        self._adapter = later[0] if later else adapters[0]
        return self._adapter

    def _checked(self, sequence: Sequence, *, alone: bool) -> Chunk:
        """The newest token; with the draft behind it when no other stream pays for its rows."""
        room = min(self._context - sequence.length, sequence.limit - len(sequence.answer) - 1)
        guesses = alone and self.slots.can_trim
        draft = sequence.draft[: max(min(room, SCORED_TOKENS), 0)] if guesses else []
        tokens = [*sequence.tokens(1), *draft]
        return Chunk(sequence.slot, sequence.computed, tokens, len(tokens))

    def _gather(self, decoding: list[Sequence]) -> None:
        """Many gaps between the slots that decode: bring the outermost to the others."""
        if not self._fills or len(decoding) < 2:
            return
        outer = max(decoding, key=lambda s: s.slot)
        rest = [s.slot for s in decoding if s is not outer]
        low, high = min(rest), max(rest)
        if outer.slot - low < len(decoding) + _bearable(len(decoding)):
            return
        near = [slot for slot in self.slots.free() if low - 1 <= slot.number <= high + 1]
        if near:
            self.slots.move(outer, min(near, key=lambda s: s.used))

    @staticmethod
    def _length_in(slot: Slot) -> int:
        return len(slot.kept) if slot.owner is None else slot.owner.computed


def _bearable(decoding: int) -> int:
    """Gaps that may be filled step after step rather than closed by a move."""
    return max(1, decoding // 2)
