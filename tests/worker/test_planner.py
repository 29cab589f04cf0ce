"""The planner's laws, kept by a state machine that adds, cancels, admits, computes and ends."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from rbee.worker.engine.planner import Batch, Planner, Sequence


def line(request: str, size: int, priority: int = 0, choice: int = 0) -> Sequence:
    return Sequence(request, choice, list(range(size)), limit=5, priority=priority)


class Planning(RuleBasedStateMachine):
    """A model of the planner: who waits (with rank and arrival), who runs, who is gone."""

    @initialize(slots=st.integers(1, 5), budget=st.integers(1, 12))
    def begin(self, slots: int, budget: int) -> None:
        self.planner = Planner(slots, budget)
        self.budget = max(budget, slots)
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self.gone: list[Sequence] = []
        self.requests = 0
        self.fed: dict[int, list[int]] = {}

    @rule(
        size=st.integers(1, 40),
        priority=st.integers(-1, 1),
        choices=st.integers(1, 3),
    )
    def add(self, size: int, priority: int, choices: int) -> None:
        self.requests += 1
        for choice in range(choices):
            made = line(f"r{self.requests}", size, priority, choice)
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
        self.gone += expected

    @rule()
    def admit(self) -> None:
        free = self.planner.slots - len(self.running)
        ranked = sorted(self.waiting, key=lambda s: -s.priority)  # stable: then by arrival
        admitted = self.planner.admit()
        assert admitted == ranked[:free]
        self.running += admitted
        self.waiting = [s for s in self.waiting if s not in admitted]

    @rule(data=st.data())
    def compute(self, data: st.DataObject) -> None:
        batch = self.planner.next_batch()
        self.check(batch)
        self.planner.advance(batch)
        for _, owner in batch.ripe:
            owner.answer.append(100 + len(owner.answer))
            if len(owner.answer) == owner.limit or data.draw(st.booleans(), "the end token"):
                self.planner.end(owner)
                self.running.remove(owner)
                self.gone.append(owner)

    def check(self, batch: Batch) -> None:
        """Within the budget, contiguous, decoding rows first, prompts by age, nobody left out."""
        assert sum(len(c.tokens) for c in batch.chunks) <= self.budget
        assert len(set(batch.owners)) == len(batch.owners)
        for chunk, owner in zip(batch.chunks, batch.owners, strict=True):
            known = [*owner.prompt, *owner.answer]
            end = chunk.start + len(chunk.tokens)
            assert chunk.slot == owner.slot and chunk.start == owner.computed
            assert list(chunk.tokens) == known[chunk.start : end] != []
            assert chunk.ripe == (end == len(known))
        decoding = [s for s in self.running if s.answer]
        assert set(decoding) <= set(batch.owners), "a running stream was stalled"
        sizes = [owner.pending > 1 for owner in batch.owners]
        assert sizes == sorted(sizes), "a prompt stands before a decoding row"
        prompts = [s for s in self.running if s.pending > 1]
        served = [s for s in batch.owners if s.pending > 1]
        assert served == prompts[: len(served)], "a younger prompt overtook"
        assert bool(batch.chunks) == bool(self.running)

    @invariant()
    def slots_are_conserved(self) -> None:
        held = [s.slot for s in self.running]
        assert len(set(held)) == len(held) and all(0 <= s < self.planner.slots for s in held)
        assert self.planner.busy == len(self.running) <= self.planner.slots
        assert self.planner.waiting == len(self.waiting)
        assert self.planner.idle == (not self.running and not self.waiting)
        assert sorted(self.planner._free + held) == list(range(self.planner.slots))

    @invariant()
    def everybody_is_in_one_place(self) -> None:
        assert all(s.slot == -1 for s in self.waiting + self.gone)
        assert not set(self.running) & set(self.gone)


Planning.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestPlanning = Planning.TestCase


def test_every_prompt_is_finished_however_many_streams_run() -> None:
    """A budget that the streams nearly fill still moves the prompt on, each step."""
    planner = Planner(slots=4, budget=4)
    streams = [line(f"s{i}", 1) for i in range(3)]
    prompt = line("prompt", 50)
    for sequence in (*streams, prompt):
        planner.add(sequence)
    planner.admit()
    for step in range(1, 51):
        batch = planner.next_batch()
        planner.advance(batch)
        for _, owner in batch.ripe:
            owner.answer.append(1)
        assert prompt.computed == step
    assert prompt.answer == [1]


def test_a_waiting_sequence_is_served_once_those_before_it_have_ended() -> None:
    planner = Planner(slots=1, budget=8)
    lines = [line(f"r{i}", 3) for i in range(5)]
    for sequence in lines:
        planner.add(sequence)
    for sequence in lines:
        assert planner.admit() == [sequence]
        planner.end(sequence)
    assert planner.idle
