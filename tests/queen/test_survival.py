"""Answers that survive: everything of a queen that decides and passes on, under drawn histories of
workers that crash, wedge, drain, lie and live again, of a network that delays, repeats, reorders,
cuts and stalls, of queens that die, and of clients that come, leave and attach again.

What is true (`sim_workers`) is kept beside what the queen was told (`sim_queen`). In the end
everything is healed, and every client that stayed must have read its whole answer, each token
once, or have been told why not: it killed its workers, its worker lied, its time was over, its
budget was spent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import permutations
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup
from hypothesis import given, settings
from hypothesis import strategies as st

from rbee.contracts.fleet import WorkerBeat
from rbee.errors import Unavailable
from rbee.queen.fleet import seat
from tests.queen.drawn_time import DrawnTime, settled
from tests.queen.sim_client import Client, seen
from tests.queen.sim_queen import GRACE_S, SILENCE_S, Queen
from tests.queen.sim_wire import Connection
from tests.queen.sim_workers import Answer, Shape, Worker, asked_for

EXAMPLES = 400
NAMES = ("a", "b", "c")


class World:
    def __init__(self, loop: DrawnTime, group: TaskGroup) -> None:
        self.loop = loop
        self.group = group
        self.workers = {name: Worker(name, loop.call_later) for name in NAMES}
        for worker in self.workers.values():
            worker.stirred = self.stir
        self.clients: list[Client] = []
        self.sent: list[WorkerBeat] = []
        self.seq = 0

    async def crown(self) -> None:
        """A queen begins, and knows nothing."""
        self.queen: Queen = await self.group.start(self._reign)

    async def _reign(self, *, task_status: anyio.abc.TaskStatus[Queen]) -> None:
        async with anyio.create_task_group() as group:
            task_status.started(Queen(self.loop, self.workers, group))
            await anyio.sleep_forever()

    def stir(self) -> None:
        for connection in self.queen.wire.connections:
            connection.stir()

    async def act(self, action: tuple[Any, ...]) -> None:
        match action:
            case ("arrive", poison, infer):
                self.arrive(poison, *infer)
            case ("wait", seconds, beating):
                self.loop.now += seconds
                self.queen.steady()
                for worker in self.workers.values() if beating else ():
                    self.change("hear", worker)
            case ("deliver", index, keep) if self.sent:
                beat = self.sent[index % len(self.sent)]
                if not keep:
                    self.sent.remove(beat)
                self.queen.hear(beat)
            case ("die",):
                await self.succeed()
            case (what, name) if name in self.workers:
                self.change(what, self.workers[name])
            case (what, index, *more) if self.clients:
                self.happen(what, self.clients[index % len(self.clients)], *more)
        await self.settle()

    async def settle(self) -> None:
        self.queen.tick()
        await settled(self.loop)
        for client in self.clients:
            self.recognise(client)
            client.read()
            if client.away_at is not None and self.loop.now - client.away_at >= GRACE_S:
                client.orphaned = True

    def arrive(self, poison: bool, *infer: Any) -> None:
        number = len(self.clients)
        client = Client(asked_for(number, *infer), poison, f"job-{number}")
        client.job = self.queen.begin(client.infer, client.job_id)
        self.queen.jobs.attach(client.job)
        self.clients.append(client)

    async def succeed(self) -> None:
        """The queen dies; all who read from her lose her, and another begins."""
        self.queen.die()
        await settled(self.loop)
        for client in self.clients:
            if client.job is not None:
                client.job, client.away_at = None, self.loop.now
        await self.crown()

    def happen(self, what: str, client: Client, *more: Any) -> None:
        match what:
            case "write":
                self.write(client, more[0])
            case "cut":
                for connection in self.reading(client):
                    connection.strike(more[0])
            case "fell":
                for connection in self.reading(client):
                    connection.worker.crash()
            case "lie":
                for worker, answer in self.writing(client):
                    client.lied_to = True
                    answer.lie()
                    worker.stirred()
            case "leave" if client.job is not None:
                whole = {c.worker for c in self.reading(client) if c.fault is None and not c.dead}
                client.unwanted = [a for w, a in self.writing(client) if w in whole]
                client.left = client.job.revoked = True
                client.job.cancel()
            case "go":
                client.go(self.queen, self.loop.now)
            case "attach" if client.job is None and not client.over:
                self.group.start_soon(self.attach, client, self.queen)

    async def attach(self, client: Client, queen: Queen) -> None:
        known = client.job_id in queen.jobs
        found = queen.jobs.get(client.job_id) if known else None
        try:
            found = found or await queen.adoption.seek(client.job_id)
        except Unavailable:
            return  # a worker says that it has it, and does not answer: it tries again
        if found is not None and not known:
            seen("taken over")
        if queen is not self.queen or client.job is not None:
            return
        if found is None:
            assert not list(self.known(client)), "nobody finds an answer that a worker has"
            client.given_up = True
            return
        queen.jobs.attach(found)
        client.job, client.away_at, client.doubts = found, None, True
        client.others = [answer.log for _, answer in self.known(client)]

    def recognise(self, client: Client) -> None:
        """A queen who died may have said more than the worker knows that the next one found: it was
        cut off from her, and nobody else had gone on yet. Then the answer is lost."""
        log = client.job.log if client.job is not None else None
        if not client.doubts or log is None:
            return
        if not client.same(log) or (log.ended and not client.continued_by(log)):
            known = any(client.continued_by(log) for log in client.others)
            assert client.lied_to or not known, "it was there"
            client.go(self.queen, self.loop.now)
            client.given_up = True
            seen("an earlier life of the answer")
        elif client.continued_by(log):
            client.doubts = False

    def known(self, client: Client) -> Iterator[tuple[Worker, Answer]]:
        """The workers of which the queen was told that they have the answer, and truly have it."""
        for worker, answer in self.writing(client):
            beat, at = self.queen.heard.get(worker.seat, (None, 0.0))
            well = beat is not None and self.loop.now - at < SILENCE_S and not beat.step_age_s
            if beat is not None and well and client.job_id in (*beat.jobs, *beat.kept):
                yield worker, answer

    def reading(self, client: Client) -> list[Connection]:
        return [c for c in self.queen.wire.connections if c.job_id == client.job_id]

    def writing(self, client: Client) -> Iterator[tuple[Worker, Answer]]:
        """Where its answer is, also where nobody reads it."""
        for worker in self.workers.values():
            answer = worker.answers.get(client.job_id)
            if worker.alive and answer is not None:
                yield worker, answer

    def write(self, client: Client, shape: Shape) -> None:
        for worker, answer in self.writing(client):
            if worker.wedged:
                continue
            if client.poison:
                self.kill(client, worker)
            elif shape:
                answer.write(shape)
            else:
                answer.finish()
            worker.stirred()

    def kill(self, client: Client, worker: Worker) -> None:
        """It is computed, and its worker dies of it."""
        if any(c.worker is worker for c in self.reading(client)):
            client.kills[self.queen] += 1
            worker.crash()

    def change(self, what: str, worker: Worker) -> None:
        match what:
            case "start" if not worker.alive:
                worker.begin()
                self.queen.hear(self.beat(worker))
            case "hear" if worker.alive:
                self.queen.hear(self.beat(worker))
            case "send" if worker.alive and not self.on_its_way(worker):
                self.sent.append(self.beat(worker))
            case "crash" if worker.alive:
                worker.crash()
            case "end" if worker.alive and worker.draining:
                worker.leave()
                self.sent.append(self.beat(worker, "stopped"))
            case "wedge" | "unwedge":
                worker.wedged = what == "wedge"
            case "drain":
                worker.draining = True
            case "fill" | "empty":
                worker.full = what == "fill"

    def beat(self, worker: Worker, state: str = "") -> WorkerBeat:
        self.seq += 1
        return worker.beat(self.seq, state)

    def on_its_way(self, worker: Worker) -> bool:
        """A worker awaits the answer to a beat before it sends the next one."""
        known = self.queen.heard.get(worker.seat)
        newest = 0 if known is None else known[0].seq
        return any(seat(b) == worker.seat and b.seq > newest for b in self.sent)

    def check(self) -> None:
        self.queen.check()
        for client in self.clients:
            client.check()
            assert all(answer.log.ended for answer in client.unwanted), "its slot is not free"
            assert all(n <= 2 for n in client.kills.values()), "a third worker died of it"

    async def heal(self) -> None:
        """Everything is well again, and stays so."""
        self.sent.clear()
        for _ in range(200):
            for worker in self.workers.values():
                if not worker.alive or worker.draining or worker.wedged or worker.full:
                    worker.crash()
                    worker.begin()
                self.queen.hear(self.beat(worker))
            await self.act(("wait", 0.5, True))
            for client in self.clients:
                self.happen("attach", client)
                self.write(client, ())
                await self.settle()
            self.check()
            if all(c.over for c in self.clients) and not self.queen.jobs.running:
                return
        raise AssertionError(f"{self.queen.dispatch!r}: somebody waits for ever")

    def check_end(self) -> None:
        self.queen.check_end()
        for client in self.clients:
            if not client.left and not client.given_up:
                client.check_end()


names = st.sampled_from(NAMES)
numbers = st.integers(0, 20)
requests = st.tuples(
    st.integers(1, 12),
    st.sampled_from((1, 1, 2)),
    st.booleans(),
    st.sampled_from((None, None, None, 20_000)),
)
arrivals = st.tuples(st.just("arrive"), st.sampled_from((False,) * 7 + (True,)), requests)
steps = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 3)), min_size=1, max_size=2)
pauses = st.sampled_from((0.25, 0.5, 0.5, 1.0, 1.0, SILENCE_S, 70.0))
changes = ("hear", "start", "send", "send", "crash", "wedge", "unwedge", "drain", "end", "fill")
faults = st.sampled_from(("broken", "broken", "ended", "stalled"))
actions = st.one_of(
    arrivals,
    st.tuples(st.just("write"), numbers, steps),
    st.tuples(st.just("write"), numbers, steps),
    st.tuples(st.just("cut"), numbers, faults),
    st.tuples(st.sampled_from(("fell", "fell", "go", "attach", "attach", "leave", "lie")), numbers),
    st.tuples(st.sampled_from((*changes, "start", "unwedge", "empty")), names),
    st.tuples(st.just("deliver"), numbers, st.booleans()),
    st.tuples(st.just("wait"), pauses, st.sampled_from((True, True, False))),
    st.tuples(st.just("wait"), pauses, st.sampled_from((True, True, False))),
    st.tuples(st.just("die")),
)


def told(story: Callable[[World], Awaitable[None]]) -> None:
    """Three workers, a queen who has heard of them, and one client; in the end all is healed."""
    loop = DrawnTime()

    async def play() -> None:
        async with anyio.create_task_group() as group:
            world = World(loop, group)
            await world.crown()
            for name in NAMES:
                await world.act(("start", name))
            await world.act(("arrive", False, (9, 1, False, None)))
            await story(world)
            await world.heal()
            world.check_end()
            group.cancel_scope.cancel()

    anyio.run(play, backend_options={"loop_factory": lambda: loop})


@pytest.mark.timeout(400)  # to make a failure small takes up to five minutes
@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(actions, min_size=20, max_size=80))
def test_every_answer_is_finished_once_or_ends_as_it_deserves(
    history: list[tuple[Any, ...]],
) -> None:
    async def story(world: World) -> None:
        for action in history:
            await world.act(action)
            world.check()

    told(story)


@pytest.mark.parametrize("order", list(permutations(NAMES)))
def test_of_two_lives_of_an_answer_the_next_queen_finds_the_later(order: Sequence[str]) -> None:
    """The connection broke, another worker went on, and the first one still writes when the queen
    dies: it is not what her clients have read."""

    async def story(world: World) -> None:
        for fault in ((), ("cut", 0, "ended"), ("die",)):
            await world.act(fault or ("write", 0, [(0, 2)]))
            await world.act(("write", 0, [(0, 1)]))
        for name in order:
            await world.act(("hear", name))
        await world.act(("attach", 0))
        assert world.clients[0].job is not None and not world.clients[0].doubts

    told(story)
