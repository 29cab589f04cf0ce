"""The planner's laws, kept by a state machine that adds, cancels, admits, computes and ends.

Beside it stands a memory that does what the planner says: a prefix taken from the wrong slot, cut
at the wrong place or from a foreign namespace is seen at once.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from rbee.worker.engine.batch import Batch
from rbee.worker.engine.planner import Planner
from rbee.worker.engine.sequence import Sequence
from tests.worker.memory import Memory

CONTEXT = 48


def line(request: str, size: int, priority: int = 0, choice: int = 0, **more: Any) -> Sequence:
    return Sequence(request, choice, list(range(size)), 5, priority, **more)


class Planning(RuleBasedStateMachine):
    """A model of the planner: who waits (with rank and arrival), who runs, who is gone."""

    @initialize(
        slots=st.integers(1, 5),
        budget=st.integers(1, 12),
        kind=st.sampled_from(["own", "pool", "stateful"]),
    )
    def begin(self, slots: int, budget: int, kind: str) -> None:
        pooled = kind == "pool"
        self.planner = Planner(slots, CONTEXT, budget, pooled=pooled, can_trim=kind != "stateful")
        self.memory = Memory(slots, CONTEXT, 2 * CONTEXT if pooled else 0)
        self.budget = max(budget, slots)
        self.slots = slots
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self.gone: list[Sequence] = []
        self.paused: set[str] = set()
        self.requests = 0

    @rule(
        size=st.integers(1, 40),
        shared=st.integers(0, 40),
        priority=st.integers(-1, 1),
        choices=st.integers(1, 3),
        namespace=st.sampled_from(["a", "b"]),
        adapter=st.sampled_from(["", "", "x"]),
        odd=st.sampled_from(["", "", "", "alone", "scored"]),
    )
    def add(
        self,
        size: int,
        shared: int,
        priority: int,
        choices: int,
        namespace: str,
        adapter: str,
        odd: str,
    ) -> None:
        """Prompts begin alike for as long as `shared` says."""
        self.requests += 1
        prompt = [n if n < shared else 1000 * self.requests + n for n in range(size)]
        for choice in range(choices):
            made = Sequence(f"r{self.requests}", choice, prompt, 5, priority)
            made.namespace, made.adapter = f"{namespace}/{adapter}", adapter
            made.alone, made.scored = odd == "alone", odd == "scored"
            self.waiting.append(made)
            self.planner.add(made)

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        name = f"r{data.draw(st.integers(1, self.requests))}"
        expected = [s for s in self.running + self.waiting if s.request == name]
        assert set(self.planner.cancel(name)) == set(expected)
        self.running = [s for s in self.running if s.request != name]
        self.waiting = [s for s in self.waiting if s.request != name]
        self.paused.discard(name)
        self.gone += expected

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), choice=st.integers(0, 2))
    def cut(self, data: st.DataObject, choice: int) -> None:
        """One choice alone."""
        name = f"r{data.draw(st.integers(1, self.requests))}"
        expected = [s for s in self.known(name) if s.choice == choice]
        assert self.planner.cancel(name, choice) == expected
        self.running = [s for s in self.running if s not in expected]
        self.waiting = [s for s in self.waiting if s not in expected]
        self.gone += expected
        if not self.known(name):
            self.paused.discard(name)

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def pause(self, data: st.DataObject) -> None:
        """Also one that is paused, or has ended."""
        name = f"r{data.draw(st.integers(1, self.requests))}"
        self.planner.pause(name)
        if self.known(name):
            self.paused.add(name)

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def proceed(self, data: st.DataObject) -> None:
        name = f"r{data.draw(st.integers(1, self.requests))}"
        self.planner.proceed(name)
        self.paused.discard(name)

    def known(self, request: str) -> list[Sequence]:
        return [s for s in self.running + self.waiting if s.request == request]

    @property
    def awake(self) -> list[Sequence]:
        return [s for s in self.running if s.request not in self.paused]

    @rule()
    def admit(self) -> None:
        ranked = sorted(self.waiting, key=lambda s: (-s.priority, s.arrival))
        ranked = [s for s in ranked if s.request not in self.paused]
        admitted = self.planner.admit()
        assert admitted == ranked[: len(admitted)], "somebody overtook"
        self.running += admitted
        self.waiting = [s for s in self.waiting if s not in admitted]
        if ranked and not self.running:
            raise AssertionError("nobody runs, and nobody is let in")
        if len(ranked) > len(admitted) and not self.awake:
            last = ranked[len(admitted)]
            assert last.alone or any(s.alone for s in self.running) or not self.free()
        if any(s.alone for s in self.running):
            assert len(self.running) == 1
        for sequence in admitted:
            assert sequence.cached < len(sequence.prompt)
            assert not (sequence.cached and (sequence.alone or sequence.scored))

    @rule(data=st.data())
    def compute(self, data: st.DataObject) -> None:
        batch = self.roomy_batch()
        self.check(batch)
        self.memory.decode(batch)
        self.planner.advance(batch)
        for chunk, owner in zip(batch.chunks, batch.owners, strict=True):
            if owner is None or not chunk.outputs or owner.pending > 0:
                continue
            owner.answer.append(100 + len(owner.answer))
            if chunk.outputs > 1:
                self.planner.rewind(owner)
            full = owner.length == CONTEXT or len(owner.answer) == owner.limit
            if full or data.draw(st.booleans(), "the end token"):
                self.planner.end(owner)
                self.running.remove(owner)
                self.gone.append(owner)

    def roomy_batch(self) -> Batch:
        while True:
            batch = self.planner.next_batch()
            self.memory.edit(self.planner)
            if self.memory.has_room(batch):
                return batch
            before = self.planner.preempted
            assert self.planner.make_room(), "one alone has no room"
            if self.planner.preempted > before:
                lost = [s for s in self.running if s.slot < 0]
                least = min(
                    self.running,
                    key=lambda s: (s.request not in self.paused, s.priority, -s.arrival),
                )
                assert lost == [least], "not one that is paused, nor the newest of the lowest rank"
                self.running.remove(least)
                self.waiting.append(least)

    def check(self, batch: Batch) -> None:
        """Within the budget, in the order of the slots, one adapter, nobody decoding left out."""
        mine = [
            (chunk, owner)
            for chunk, owner in zip(batch.chunks, batch.owners, strict=True)
            if owner is not None
        ]
        assert sum(len(chunk.tokens) for chunk, _ in mine) <= self.budget
        slots = [chunk.slot for chunk in batch.chunks]
        assert len(slots) == len(set(slots))
        for chunk, owner in mine:
            end = chunk.start + len(chunk.tokens)
            assert chunk.slot == owner.slot and chunk.start == owner.computed
            assert list(chunk.tokens) == owner.known[chunk.start : end] != []
            assert owner.adapter == batch.adapter
            if not owner.scored:
                assert chunk.outputs == (end == owner.length)
        owners = {owner for _, owner in mine}
        assert owners <= set(self.awake), "one that is paused was computed"
        decoding = {s for s in self.awake if s.decoding and s.adapter == batch.adapter}
        assert decoding <= owners, "a running stream was stalled"
        assert batch.decoding == len(decoding)
        assert bool(batch.chunks) == bool(self.awake), "nothing is computed, or for nobody"

    @invariant()
    def slots_are_conserved(self) -> None:
        held = [s.slot for s in self.running]
        assert len(set(held)) == len(held) and all(0 <= s < self.slots for s in held)
        assert self.planner.busy == len(self.running) <= self.slots
        assert self.planner.waiting == len(self.waiting)
        assert self.planner.paused == len(self.paused)
        assert sorted(self.free() + held) == list(range(self.slots))

    @invariant()
    def it_is_idle_when_nothing_can_be_computed(self) -> None:
        """Else it would step on and on; and one that slept too early would sleep for ever."""
        if self.awake:
            assert not self.planner.idle
        elif not self.running:
            assert self.planner.idle == all(s.request in self.paused for s in self.waiting)
        elif self.planner.idle:
            assert self.planner.admit() == [] and not self.planner.next_batch().chunks

    def free(self) -> list[int]:
        return [slot.number for slot in self.planner.slots.free()]

    @invariant()
    def everybody_is_in_one_place(self) -> None:
        assert all(s.slot == -1 for s in self.waiting + self.gone)
        assert not set(self.running) & set(self.gone)

    def teardown(self) -> None:
        """Whoever is let go on comes to his end, and so does everybody else."""
        if not hasattr(self, "planner"):
            return
        for name in list(self.paused):
            self.planner.proceed(name)
        self.paused.clear()
        for _ in range(20 * (1 + len(self.waiting) + len(self.running)) * CONTEXT):
            if self.planner.idle:
                break
            self.running += (admitted := self.planner.admit())
            self.waiting = [s for s in self.waiting if s not in admitted]
            self.advance_all()
        assert self.planner.idle and not self.running and not self.waiting, "somebody never ends"

    def advance_all(self) -> None:
        """A step in which everybody who may says a token."""
        batch = self.roomy_batch()
        self.check(batch)
        self.memory.decode(batch)
        self.planner.advance(batch)
        for chunk, owner in zip(batch.chunks, batch.owners, strict=True):
            if owner is not None and chunk.outputs and owner.pending == 0:
                owner.answer.append(100 + len(owner.answer))
                if owner.length == CONTEXT or len(owner.answer) >= owner.limit:
                    self.planner.end(owner)
                    self.running.remove(owner)
                    self.gone.append(owner)


Planning.TestCase.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)
TestPlanning = Planning.TestCase


class Desk:
    """A planner at work: admits, computes and samples until told to stop."""

    def __init__(self, slots: int, budget: int = 64, context: int = 4096, **kind: Any) -> None:
        self.planner = Planner(slots, context, budget, **kind)
        self.memory = Memory(slots, context)
        self.prompt_tokens = 0

    def step(self) -> Batch:
        self.planner.admit()
        batch = self.planner.next_batch()
        self.memory.edit(self.planner)
        self.memory.decode(batch)
        self.planner.advance(batch)
        self.prompt_tokens += batch.prompt_tokens
        for chunk, owner in zip(batch.chunks, batch.owners, strict=True):
            if owner is not None and chunk.outputs and owner.pending == 0:
                owner.answer.append(7)
                if len(owner.answer) == owner.limit:
                    self.planner.end(owner)
        return batch

    def add(self, *lines: Sequence) -> None:
        for sequence in lines:
            self.planner.add(sequence)

    def run(self) -> None:
        for _ in range(1_000):
            if self.planner.idle:
                return
            self.step()
        raise AssertionError("never done")


def test_every_prompt_is_finished_however_many_streams_run() -> None:
    """A budget that the streams nearly fill still moves the prompt on, each step."""
    desk = Desk(slots=4, budget=4)
    streams = [line(f"s{i}", 1, namespace=f"s{i}") for i in range(3)]
    prompt = line("prompt", 50)
    for sequence in streams:
        sequence.limit = 100
    desk.add(*streams)
    desk.step()
    desk.add(prompt)
    for step in range(1, 51):
        desk.step()
        assert prompt.computed == step
    assert prompt.answer == [7]


def test_a_waiting_sequence_is_served_once_those_before_it_have_ended() -> None:
    planner = Planner(1, 64, 8)
    lines = [line(f"r{i}", 3) for i in range(5)]
    for sequence in lines:
        planner.add(sequence)
    for sequence in lines:
        assert planner.admit() == [sequence]
        planner.end(sequence)
    assert planner.idle


@pytest.mark.parametrize("pooled", [True, False])
def test_the_next_turn_computes_only_what_is_new(pooled: bool) -> None:
    desk = Desk(slots=2, pooled=pooled)
    first = line("first", 500)
    desk.add(first)
    desk.run()
    before = desk.prompt_tokens
    second = Sequence("second", 0, [*first.known, 9, 9, 9], 5)
    desk.add(second)
    desk.run()
    assert second.cached == 500 + len(first.answer) - 1  # the last token was said, not computed
    assert desk.prompt_tokens - before == len(second.prompt) - second.cached


@pytest.mark.parametrize("pooled", [True, False])
def test_a_shared_beginning_that_arrives_sixteen_times_at_once_is_computed_once(
    pooled: bool,
) -> None:
    desk = Desk(slots=16, pooled=pooled)
    system = list(range(1_000))
    lines = [Sequence(f"r{i}", 0, [*system, 5_000 + i, 6_000 + i], 5) for i in range(16)]
    desk.add(*lines)
    desk.run()
    assert desk.prompt_tokens == 1_000 + 16 * 2
    assert [s.cached for s in lines] == [0] + [1_000] * 15


def test_all_choices_of_a_request_share_its_prompt_however_short() -> None:
    desk = Desk(slots=4, pooled=False)
    lines = [line("r", 6, choice=choice) for choice in range(4)]
    desk.add(*lines)
    desk.run()
    assert desk.prompt_tokens == 6 and all(s.cached == 5 for s in lines[1:])


def test_namespaces_share_nothing() -> None:
    desk = Desk(slots=4)
    desk.add(line("a", 300, namespace="a"))
    desk.run()
    other = line("b", 300, namespace="b")
    desk.add(other)
    desk.run()
    assert other.cached == 0 and desk.prompt_tokens == 600


def test_a_conversation_is_not_given_up_for_its_system_prompt() -> None:
    """Who shares only the beginning copies it; the long conversation stays where it is."""
    desk = Desk(slots=3, pooled=False)
    system = list(range(200))
    long = Sequence("long", 0, [*system, *range(1_000, 2_000)], 5)
    desk.add(long)
    desk.run()
    other = Sequence("other", 0, [*system, 5_000], 5)
    desk.add(other)
    desk.run()
    assert other.cached == 200 and desk.memory.copied == 1
    again = Sequence("again", 0, [*long.known, 9], 5)
    desk.add(again)
    desk.run()
    assert again.cached == 1_204


def test_the_slot_used_longest_ago_is_given_up_first() -> None:
    desk = Desk(slots=3, pooled=False)
    for name in "abcd":
        desk.add(line(name, 100, namespace=name))
        desk.run()
    for name, cached in (("d", 99), ("c", 99), ("b", 99), ("a", 0)):
        again = line(name * 2, 100, namespace=name)
        desk.add(again)
        desk.run()
        assert again.cached == cached
    assert desk.planner.slots.evicted == 2


def test_a_leader_that_is_cancelled_leaves_its_followers_at_work() -> None:
    desk = Desk(slots=3, budget=32, pooled=False)
    leader, *followers = [line(f"r{i}", 400) for i in range(3)]
    desk.add(leader, *followers)
    desk.step()
    assert all(f.leader is leader for f in followers)
    desk.planner.cancel(leader.request)
    desk.run()
    assert all(len(f.answer) == 5 for f in followers)


def running_desk(slots: int, *sizes: int, **kind: Any) -> tuple[Desk, list[Sequence]]:
    """Streams named r0, r1 ... without an end, each with its prompt computed."""
    desk = Desk(slots, **kind)
    lines = [line(f"r{i}", size, namespace=str(i)) for i, size in enumerate(sizes)]
    for sequence in lines:
        sequence.limit = 1_000
    desk.add(*lines)
    while any(s.pending > 1 for s in lines):
        desk.step()
    return desk, lines


def test_a_paused_stream_keeps_its_slot_and_goes_on_where_it_was() -> None:
    desk, (first, second) = running_desk(2, 5, 5, pooled=False)
    desk.planner.pause("r0")
    before, slot = list(first.answer), first.slot
    for _ in range(20):
        batch = desk.step()
        assert batch.sequences == [second] and batch.decoding == 1
    assert (first.answer, first.slot, desk.planner.busy) == (before, slot, 2)
    desk.planner.proceed("r0")
    assert desk.step().sequences == [first, second] and first.computed == first.length - 1


@pytest.mark.parametrize("phase", ["prompt", "decode", "waiting"])
def test_a_paused_request_can_be_cancelled(phase: str) -> None:
    desk, (first,) = running_desk(1, 5)
    other = line("other", 300, namespace="other")
    desk.add(other)
    paused = {"prompt": other, "decode": first, "waiting": other}[phase]
    if phase == "prompt":
        desk.planner.cancel("r0")
        desk.step()
        assert 0 < other.computed < 300
    desk.planner.pause(paused.request)
    assert desk.planner.cancel(paused.request) == [paused]
    assert desk.planner.paused == 0 and paused.slot == -1
    desk.planner.pause(paused.request)  # one that has ended
    assert desk.planner.paused == 0
    desk.planner.cancel("r0")
    desk.run()


def test_who_is_paused_while_waiting_is_overtaken_and_has_his_place_again() -> None:
    desk, (runs,) = running_desk(1, 5)
    lines = [line(f"w{i}", 5, namespace=f"w{i}") for i in range(3)]
    desk.add(*lines)
    desk.planner.pause("w0")
    desk.planner.cancel(runs.request)
    assert desk.planner.admit() == [lines[1]]
    desk.planner.proceed("w0")
    desk.planner.cancel("w1")
    assert desk.planner.admit() == [lines[0]]
    desk.run()


def test_a_full_pool_takes_from_the_paused_first_and_gives_it_back() -> None:
    """Though the other is newer and of lower priority."""
    desk, (old, new) = running_desk(3, 50, 50, pooled=True)
    new.priority = -1
    desk.planner.pause("r0")
    assert desk.planner.make_room()
    assert (old.slot, old.computed) == (-1, 0) and new.slot >= 0
    assert desk.planner.admit() == [] and desk.planner.waiting == 1
    desk.planner.proceed("r0")
    assert desk.planner.admit() == [], "before somebody has left it would be full again"
    desk.planner.cancel("r1")
    assert desk.planner.admit() == [old]
    said = len(old.answer)
    old.limit = said + 5
    desk.run()
    assert len(old.answer) == said + 5


def test_when_all_that_run_are_paused_a_full_pool_lets_others_in() -> None:
    desk, (first, second) = running_desk(3, 50, 50, pooled=True)
    desk.planner.pause("r0")
    assert desk.planner.make_room() and first.slot == -1
    other = line("other", 5, namespace="other")
    desk.add(other)
    assert desk.planner.admit() == [] and not desk.planner.idle
    desk.planner.pause("r1")
    assert not desk.planner.idle
    desk.run()
    assert len(other.answer) == 5 and second.slot >= 0


def test_nothing_is_to_be_done_while_the_paused_hold_every_slot() -> None:
    desk, (first,) = running_desk(1, 5)
    desk.add(line("waits", 5, namespace="waits"))
    desk.planner.pause("r0")
    assert desk.planner.idle and not desk.step().chunks and desk.planner.busy == 1
    desk.planner.proceed("r0")
    assert not desk.planner.idle and desk.step().sequences == [first]


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("steps", [0, 1, 8])
def test_nobody_waits_for_a_paused_leader(pooled: bool, steps: int) -> None:
    """What he has computed is taken over; the rest everybody computes for himself."""
    desk = Desk(slots=3, budget=32, pooled=pooled)
    leader, *followers = [line(f"r{i}", 400) for i in range(3)]
    desk.add(leader, *followers)
    desk.planner.admit()
    for _ in range(steps):
        desk.step()
    desk.planner.pause("r0")
    there, before = leader.computed, desk.prompt_tokens
    desk.step()
    assert followers[0].leader is not leader and followers[0].cached == there
    while any(f.slot >= 0 for f in followers):
        desk.step()
    assert all(len(f.answer) == 5 for f in followers)
    assert desk.prompt_tokens - before <= 2 * (400 - there) and leader.computed == there
    desk.planner.proceed("r0")
    desk.run()
    assert len(leader.answer) == 5


def test_a_follower_that_was_paused_takes_over_what_its_leader_left() -> None:
    desk = Desk(slots=2, budget=32, pooled=False)
    leader, follower = line("r0", 400), line("r1", 400)
    desk.add(leader, follower)
    desk.step()
    desk.planner.pause("r1")
    while leader.slot >= 0:
        desk.step()
    assert follower.leader is leader and follower.computed == 0
    desk.planner.proceed("r1")
    desk.run()
    assert follower.cached == 399 and len(follower.answer) == 5


def test_gaps_between_slots_are_filled_or_closed() -> None:
    """Short ones are computed in one pass: their slots, with the fillers, are neighbours."""
    desk = Desk(slots=8, pooled=False)
    lines = [line(f"r{i}", 3, namespace=str(i)) for i in range(8)]
    for sequence in lines:
        sequence.limit = 1_000
    desk.add(*lines)
    desk.step()
    for gone in ("r3", "r1", "r2", "r5", "r4", "r6"):
        desk.planner.cancel(gone)
        for _ in range(3):
            batch = desk.step()
        slots = [chunk.slot for chunk in batch.chunks]
        assert slots == list(range(slots[0], slots[0] + len(slots)))
        assert batch.owners.count(None) <= max(1, batch.decoding // 2)
    assert {s.request for s in batch.sequences} == {"r0", "r7"}


def test_who_must_be_alone_waits_for_an_empty_worker_and_keeps_it() -> None:
    desk = Desk(slots=4, pooled=False)
    before, alone, after = line("before", 30), line("alone", 30, alone=True), line("after", 30)
    desk.add(before, alone, after)
    together: set[frozenset[str]] = set()
    while not desk.planner.idle:
        together.add(frozenset(s.request for s in desk.step().sequences))
    assert together == {frozenset({name}) for name in ("before", "alone", "after")}
    assert alone.cached == after.cached == 0


def test_a_draft_is_checked_in_one_step_and_forgotten_where_it_was_wrong() -> None:
    desk = Desk(slots=2, pooled=False)
    sequence = line("r", 4)
    sequence.limit = 100
    desk.add(sequence)
    desk.step()
    sequence.draft = [7, 7, 8]
    desk.planner.admit()
    batch = desk.planner.next_batch()
    assert batch.chunks[0].tokens == [7, 7, 7, 8] and batch.chunks[0].outputs == 4
    desk.memory.edit(desk.planner)
    desk.memory.decode(batch)
    desk.planner.advance(batch)
    sequence.answer += [7, 7, 7]  # the third was not what the draft said
    sequence.draft = []
    desk.planner.rewind(sequence)
    desk.step()
    assert desk.memory.cells[sequence.slot] == [("", t) for t in sequence.known[:-1]]


def test_no_draft_beside_another_stream() -> None:
    planner = Planner(2, 64, 8)
    for name in ("a", "b"):
        planner.add(line(name, 1, namespace=name))
    for sequence in planner.admit():
        sequence.draft = [1, 2, 3]
    batch = planner.next_batch()
    assert [len(chunk.tokens) for chunk in batch.chunks] == [1, 1]


def test_a_draft_never_goes_past_the_limit_or_the_context() -> None:
    planner = Planner(1, 12, 64)
    sequence = line("r", 10)
    sequence.limit, sequence.draft = 50, [1] * 30
    planner.add(sequence)
    planner.admit()
    planner.advance(planner.next_batch())
    sequence.answer.append(1)
    (chunk,) = planner.next_batch().chunks
    assert chunk.start + len(chunk.tokens) <= 12


def passes(batch: Batch) -> list[list[int]]:
    """How llama.cpp cuts a batch: neighbours in ascending order together."""
    cut: list[list[int]] = []
    for chunk in batch.chunks:
        if cut and chunk.slot == cut[-1][-1] + 1:
            cut[-1].append(chunk.slot)
        else:
            cut.append([chunk.slot])
    return cut


def long_beside_short(length: int) -> Batch:
    """Three short streams in slots 0, 2 and 3, one of `length` tokens in slot 1; all decode."""
    desk = Desk(slots=4, budget=8_192, context=8_192, pooled=False)
    lines = [line(f"r{i}", length if i == 1 else 10, namespace=str(i)) for i in range(4)]
    for sequence in lines:
        sequence.limit = 100
    desk.add(*lines)
    while any(s.pending > 1 for s in lines):
        desk.step()
    return desk.step()


def test_a_long_conversation_is_a_pass_of_its_own() -> None:
    assert passes(long_beside_short(300)) == [[0, 1, 2, 3]]
    assert passes(long_beside_short(6_000)) == [[2, 3], [1], [0]]


def test_a_prompt_is_a_pass_of_its_own_wherever_it_stands() -> None:
    desk = Desk(slots=4, pooled=False)
    lines = [line(f"r{i}", 10, namespace=str(i)) for i in range(3)]
    for sequence in lines:
        sequence.limit = 100
    desk.add(*lines)
    desk.step()
    desk.add(line("prompt", 500, namespace="prompt"))
    batch = desk.step()
    assert batch.prompt_tokens and batch.decoding == 3
    assert passes(batch) == [[3], [0, 1, 2]]


def test_a_gap_that_holds_a_long_conversation_is_not_filled() -> None:
    desk = Desk(slots=3, budget=8_192, context=8_192, pooled=False)
    lines = [line(f"r{i}", 7_000 if i == 1 else 10, namespace=str(i)) for i in range(3)]
    for sequence in lines:
        sequence.limit = 100
    desk.add(*lines)
    while any(s.pending > 1 for s in lines):
        desk.step()
    desk.planner.cancel("r1")
    batch = desk.step()
    assert None not in batch.owners and passes(batch) == [[2], [0]]
