"""What every slot's memory holds, and where a new sequence goes. Pure: the engine makes the edits.

1. A slot keeps its tokens when its sequence ends: the next turn of the conversation finds them, and
   so does everybody of the same namespace whose prompt begins alike. The least recently used slot
   is given up first, and only a free one ever.
2. A prefix is used in place when most of what the slot holds belongs to the newcomer; else it is
   copied, so that a shared system prompt costs nobody his conversation. What is still being
   computed for another is waited for, then copied.
3. In a pool (`pooled`) copies are free. Where every slot has a memory of its own a copy moves the
   whole of it, and llama.cpp computes slots in one pass only while they are neighbours: newcomers
   go beside those that run.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass, field

from rbee.worker.engine.sequence import Sequence

LEAST_COPIED = 16
"""Fewer shared tokens than this are computed anew rather than copied."""
CONTEXT_SHARE = 128
"""And fewer than the context divided by this, where a copy moves the whole of a slot."""


@dataclass(frozen=True)
class Copy:
    """`target`'s memory becomes the first `length` tokens of `source`'s."""

    source: int
    target: int
    length: int


@dataclass(frozen=True)
class Trim:
    """Keep the first `length` tokens."""

    slot: int
    length: int


Edit = Copy | Trim


@dataclass(eq=False)
class Slot:
    """One sequence's memory."""

    number: int
    owner: Sequence | None = None
    namespace: str = ""
    kept: list[int] = field(default_factory=list)
    """What a free slot still holds."""
    used: int = 0
    """When it was last used; 0: never, or nothing in it is worth keeping."""

    @property
    def held(self) -> list[int]:
        """Tokens that are, or (for an owner's prompt) will be, in the memory."""
        return self.kept if self.owner is None else self.owner.known


@dataclass(frozen=True)
class _Donor:
    slot: Slot
    shared: int
    """Tokens that the newcomer could take over."""


class Slots:
    """The only owner of the slots' bookkeeping; `edits` is what the backend must do to follow."""

    def __init__(self, count: int, context: int, *, pooled: bool, can_trim: bool) -> None:
        self._all = [Slot(number) for number in range(count)]
        self._pooled = pooled
        self.can_trim = can_trim
        self._clock = 0
        self._least = 1 if pooled else max(LEAST_COPIED, context // CONTEXT_SHARE)
        self.edits: list[Edit] = []
        self.evicted = 0
        """Slots given up while they held something that could have been used again."""

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._all)

    def __getitem__(self, number: int) -> Slot:
        return self._all[number]

    def free(self) -> list[Slot]:
        return [slot for slot in self._all if slot.owner is None]

    def place(self, newcomer: Sequence) -> None:
        """Give it a free slot (there must be one) and as much computed memory as can be had."""
        donor = None if newcomer.alone or newcomer.scored else self._donor(newcomer)
        slot = self._target(donor)
        taken = self._taken_over(donor, slot, newcomer)
        if slot.kept and taken != len(slot.kept):
            self.evicted += slot.used > 0 and taken < len(slot.kept) // 2
        slot.owner, slot.namespace, slot.kept = newcomer, newcomer.namespace, []
        self._touch(slot)
        newcomer.slot = slot.number

    def adopt(self, follower: Sequence) -> None:
        """The leader has got as far as was waited for, is gone, or is paused: go on with what there
        is."""
        leader = follower.leader
        follower.leader = None
        if leader is None or leader.slot < 0:
            donor = self._donor(follower)
            if donor is None or not self._is_there(donor):
                return
            self._copy(donor, follower)
            return
        there = min(leader.computed, follower.shares)
        if there == follower.shares or there >= self._least:
            self._copy(_Donor(self._all[leader.slot], there), follower)

    def release(self, leaver: Sequence, *, keep: bool = True) -> None:
        """The slot is free. What it holds is kept for others, unless it is wanted back at once."""
        slot = self._all[leaver.slot]
        slot.kept = leaver.known[: leaver.computed] if keep else []
        slot.owner = None
        leaver.slot = -1
        if slot.kept:
            self._touch(slot)
        else:
            self._empty(slot)

    def evict(self) -> bool:
        """Empty the free slot that was used longest ago; False when all are empty."""
        held = [slot for slot in self._all if slot.owner is None and slot.kept]
        if not held:
            return False
        self.evicted += 1
        self._empty(min(held, key=lambda s: s.used))
        return True

    def clear(self) -> None:
        """Empty every free slot."""
        while self.evict():
            pass

    def lose(self, number: int) -> None:
        """The backend could not cut what is in a slot: none is shared that would have to be cut."""
        slot = self._all[number]
        self.can_trim = False
        if slot.owner is not None:
            slot.owner.computed = 0
            self._count(slot.owner)
        self._empty(slot)

    def move(self, sequence: Sequence, target: Slot) -> None:
        """Take a running sequence to a free slot."""
        source = self._all[sequence.slot]
        self.evicted += target.used > 0
        self.edits.append(Copy(source.number, target.number, sequence.computed))
        target.owner, target.namespace, target.kept = sequence, source.namespace, []
        self._touch(target)
        source.owner = None
        self._empty(source)
        sequence.slot = target.number

    def _donor(self, newcomer: Sequence) -> _Donor | None:
        """The slot with the longest common beginning; a free one among equals. At least the last
        token is computed anew, since its logits are wanted."""
        known = newcomer.known
        limit = len(known) - 1
        best: _Donor | None = None
        for slot in self._candidates(newcomer):
            held = slot.held
            shared = min(common(known, held), limit)
            if not self.can_trim and shared != len(held):
                continue
            if shared > 0 and (best is None or _better(_Donor(slot, shared), best)):
                best = _Donor(slot, shared)
        return best

    def _candidates(self, newcomer: Sequence) -> Iterator[Slot]:
        for slot in self._all:
            owner = slot.owner
            if owner is newcomer or slot.namespace != newcomer.namespace:
                continue
            if owner is None or (self.can_trim and not owner.alone):
                yield slot

    def _target(self, donor: _Donor | None) -> Slot:
        free = self.free()
        if donor is None or donor.slot.owner is not None:
            return self._idlest(free)
        if 2 * donor.shared >= len(donor.slot.kept):
            return donor.slot
        if donor.shared >= self._least and len(free) > 1:
            free.remove(donor.slot)  # it stays what it is, and is copied from
        return self._idlest(free)

    def _idlest(self, free: list[Slot]) -> Slot:
        """Beside those that run, then the one used longest ago."""
        return min(free, key=lambda s: (not self._beside(s), s.used, s.number))

    def _beside(self, slot: Slot) -> bool:
        if self._pooled:
            return True
        running = [s.number for s in self._all if s.owner is not None]
        if not running:
            return True
        return min(running) - 1 <= slot.number <= max(running) + 1

    def _taken_over(self, donor: _Donor | None, slot: Slot, newcomer: Sequence) -> int:
        """Arrange for the newcomer's beginning; how much of the slot's own tokens stays."""
        if donor is not None and donor.slot is slot:
            newcomer.computed = donor.shared
            self._count(newcomer)
            if donor.shared < len(slot.kept):
                self.edits.append(Trim(slot.number, donor.shared))
            return donor.shared
        newcomer.computed = 0
        self._count(newcomer)
        owner = donor.slot.owner if donor is not None else None
        same = owner is not None and owner.request == newcomer.request
        self.edits.append(Trim(slot.number, 0))
        if donor is None or (donor.shared < self._least and not same):
            return 0
        newcomer.slot = slot.number
        if self._is_there(donor):
            self._copy(donor, newcomer)
        else:
            newcomer.leader, newcomer.shares = owner, donor.shared
        return 0

    def _copy(self, donor: _Donor, newcomer: Sequence) -> None:
        self.edits.append(Copy(donor.slot.number, newcomer.slot, donor.shared))
        newcomer.computed = donor.shared
        self._count(newcomer)
        if donor.slot.owner is None:
            self._touch(donor.slot)

    @staticmethod
    def _count(newcomer: Sequence) -> None:
        if not newcomer.answer:
            newcomer.cached = newcomer.computed

    @staticmethod
    def _is_there(donor: _Donor) -> bool:
        owner = donor.slot.owner
        return owner is None or owner.computed >= donor.shared

    def _empty(self, slot: Slot) -> None:
        slot.kept, slot.used = [], 0
        self.edits.append(Trim(slot.number, 0))

    def _touch(self, slot: Slot) -> None:
        self._clock += 1
        slot.used = self._clock


def _better(one: _Donor, other: _Donor) -> bool:
    """Longer; among equals a free slot, whose memory is there already."""
    return (one.shared, one.slot.owner is None) > (other.shared, other.slot.owner is None)


def common(one: Items[int], other: Items[int]) -> int:
    """How many tokens both begin with. Compares slices: list comparison runs in C."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
