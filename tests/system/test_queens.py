"""A queen is killed in the middle of an answer: another takes over, or she is started again, and
whoever was reading reads the whole answer without doing anything for it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from rbee.client.asynchronous import AsyncClient
from rbee.client.requests import infer
from rbee.client.sync import Client
from rbee.config import QueenConfig
from rbee.contracts.events import Token
from rbee.wire.beats import RETRY_S
from tests.http import ask
from tests.processes import Started
from tests.system.counting import COUNT, COUNTING, EARLY, PROMPT, Counted
from tests.system.stack import RBEE, Stack, environment, fact, free_ports, role

LIMIT_S = 60.0
BEAT_S = QueenConfig().beat_s
TWO_BEATS_S = max(2 * BEAT_S, RETRY_S + BEAT_S)
MARGIN_S = 0.5
"""For a busy machine."""


@dataclass
class Reign:
    """One worker that beats to every queen there is."""

    queens: list[Started]
    worker: Started
    env: dict[str, str]

    @property
    def addresses(self) -> str:
        return ",".join(queen.url for queen in self.queens)

    def kill(self) -> Started:
        """Kill the first queen, while the worker is still busy with an answer."""
        assert ask("GET", f"{self.worker.url}/v1/status").json()["busy"] == 1
        self.queens[0].kill()
        return self.queens[0]


@contextmanager
def reign(home: Path, queens: int) -> Iterator[Reign]:
    """So many queens and their worker, each a process of its own."""
    ports = free_ports(queens + 1)
    env = environment(home, ports[0], ports[-1])
    with ExitStack() as opened:
        made = [
            opened.enter_context(role("queen", env, "--port", str(port))) for port in ports[:-1]
        ]
        told = ",".join(queen.url for queen in made)
        flags = ("--port", "0", "--model", "bee", "--queen", told, "--slots", "2")
        worker = opened.enter_context(role("worker", env, *flags))
        for queen in made:
            fact(partial(knows_somebody, queen), "every queen knows the worker")
        yield Reign(made, worker, env)


def knows_somebody(queen: Started) -> bool:
    return bool(Client(queen.url).status().workers)


def at_peace(queen: Started) -> bool:
    """Whether she waits for nothing, by her own count."""
    queue = Client(queen.url).status().queue
    return not queue.waiting and not queue.leased


def test_a_second_queen_takes_over_in_the_middle_of_an_answer(tmp_path: Path) -> None:
    with reign(tmp_path, 2) as made:
        heard = Counted(made.kill)
        client = Client(made.addresses)
        with client.stream(PROMPT, **COUNTING) as events:
            for event in events:
                heard.feed(event)
        assert heard.done().migrations == 0
        after_the_first(made, client.queen, events.job_id)


@pytest.mark.anyio
async def test_she_does_for_a_client_that_awaits(tmp_path: Path) -> None:
    with reign(tmp_path, 2) as made:
        heard = Counted(made.kill)
        async with AsyncClient(made.addresses) as client:
            async with client.stream(PROMPT, **COUNTING) as events:
                async for event in events:
                    heard.feed(event)
            assert heard.done().migrations == 0
            after_the_first(made, client.queen, events.job_id)


def after_the_first(made: Reign, asked: str, job_id: str) -> None:
    """The second has the answer and no debts, and is asked from now on."""
    first, second = made.queens
    assert first.child.poll() is not None and asked == second.url
    assert Client(second.url).job(job_id).state == "done"
    fact(lambda: at_peace(second), "nothing is left behind")
    assert answers(Client(made.addresses))


def answers(client: Client) -> bool:
    """Whether there is somebody who gives a short answer."""
    return client.infer("2 + 2 is", model="bee", max_tokens=4).usage.completion_tokens == 4


def test_either_may_be_started_first_and_either_may_restart(tmp_path: Path) -> None:
    """A queen who was killed knows the fleet and the answer that runs two beats after she is there
    again."""
    queen, hive = free_ports(2)
    env = environment(tmp_path, queen, hive)
    made = Stack(env["RBEE_QUEEN_URL"], env["RBEE_HIVE_URL"], tmp_path, env)
    with role("hive", env, "--port", str(hive), "--queen", made.queen):
        with role("queen", env, "--port", str(queen)) as first:
            assert answers(made.client)
            [worker] = (status.worker for status in made.client.status().workers)
            running = made.client.submit(infer(PROMPT, COUNTING)).job_id
            at_work = f"{worker.url}/v1/status"
            fact(lambda: running in ask("GET", at_work).json()["jobs"], "the worker has it")
            first.kill()

        def whole() -> bool:
            known = made.client.status()
            workers = {w.worker.id: [*w.worker.jobs, *w.worker.kept] for w in known.workers}
            return len(known.hives) == 1 and running in workers.get(worker.id, [])

        with role("queen", env, "--port", str(queen)):
            fact(whole, "the fleet is whole again", TWO_BEATS_S + MARGIN_S)
            with made.client.attach(running) as events:
                assert "".join(e.text for e in events if isinstance(e, Token)) == COUNT
            assert answers(made.client)
            assert [w.worker.id for w in made.client.status().workers] == [worker.id]


@pytest.mark.parametrize("command", [("infer", PROMPT), ("chat",)])
def test_the_command_line_goes_on_with_a_queen_that_was_started_again(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"const": COUNT}))
    arguments = [*RBEE, *command, "--json-schema", str(schema), "--temperature", "0"]
    with reign(tmp_path, 1) as made, ExitStack() as later:
        undisturbed = said(arguments, made)
        assert undisturbed == f'"{COUNT}"\n'.encode()

        def kill() -> None:
            killed = made.kill()
            later.enter_context(role("queen", made.env, "--port", str(killed.port)))

        assert said(arguments, made, kill) == undisturbed
        [again] = Client(made.addresses).jobs()
        assert again.state == "done"


def said(arguments: list[str], made: Reign, kill: Callable[[], object] = lambda: None) -> bytes:
    """All that a command writes to stdout; `kill` is called when it has written a little. It ends
    well, and is quiet about its troubles."""
    with subprocess.Popen(
        arguments,
        env=made.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        try:
            assert child.stdin is not None and child.stdout is not None
            child.stdin.write(f"{PROMPT}\n".encode())
            child.stdin.close()
            child.stdin = None
            begun = os.read(child.stdout.fileno(), EARLY)  # what a buffer took would be lost
            kill()
            rest, told = child.communicate(timeout=LIMIT_S)
        finally:
            child.kill()
    assert (child.returncode, told) == (0, b"")
    return begun + rest
