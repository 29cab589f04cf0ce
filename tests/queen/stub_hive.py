"""A hive without supervision, as a real process: it spawns stub workers and pretends to download.

By flag it refuses (`--refuse 1`: every spawn fails with a reason) or is slow (`--spawn_s`). It
has `--model` (`bee`) of the content `--sha256` (not read yet); what it "downloads" it has from then
on. `GET /state` counts what it was asked.
"""

from __future__ import annotations

import secrets
import sys
from collections import Counter
from itertools import pairwise

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rbee.contracts.answers import Spawned
from rbee.contracts.events import Done, Failed, Progress
from rbee.contracts.fleet import Device, HiveBeat, ModelEntry, WorkerProcess, WorkerState
from rbee.contracts.operations import HiveOperation, ModelDownload, WorkerSpawn
from rbee.wire import server
from rbee.wire.beats import Beater
from rbee.wire.codec import decode, plain
from rbee.wire.eventlog import EventLog
from rbee.wire.http import Http
from rbee.wire.replies import HANDLERS, reply
from rbee.wire.stream import EventStream

GB = 2**30


class StubHive:
    def __init__(self, flags: dict[str, str]) -> None:
        self.id = flags.get("id", "stub-hive")
        self.queen = flags["queen"]
        self.refuse = flags.get("refuse") == "1"
        self.spawn_s = float(flags.get("spawn_s", "0"))
        self.sha256 = flags.get("sha256", "")
        self.models = [flags.get("model", "bee")]
        self.states: dict[str, tuple[str, WorkerState]] = {}
        self.asked: Counter[str] = Counter()
        self.url = ""

    def beat(self, incarnation: str, seq: int) -> HiveBeat:
        return HiveBeat(
            id=self.id,
            incarnation=incarnation,
            seq=seq,
            url=self.url,
            hostname="elsewhere",
            state="ready",
            devices=[Device("cpu", "cpu", "a processor", 8 * GB, 4 * GB)],
            models=[
                ModelEntry(id=m, file=f"{m}.gguf", size=1_000, sha256=self.sha256)
                for m in self.models
            ],
            workers=[
                WorkerProcess(worker_id=w, model=model, state=state, sha256=self.sha256)
                for w, (model, state) in self.states.items()
            ],
            memory_total=8 * GB,
            memory_free=4 * GB,
        )

    async def jobs(self, request: Request) -> Response:
        operation: HiveOperation = decode(await request.body(), HiveOperation)
        log = EventLog()
        self.asked[type(operation).__name__] += 1
        if isinstance(operation, WorkerSpawn):
            self._group.start_soon(self._spawn, operation.model, log)
        elif isinstance(operation, ModelDownload):
            self.models.append(operation.model + "/file.gguf")
            entry = ModelEntry(id=self.models[-1], file="x", size=1)
            log.append(Progress(what="download", done=1, total=1, unit="bytes"))
            log.append(Done(finish_reason="stop", result=plain(entry)))
            self.beater.poke()
        return EventStream(log)

    async def _spawn(self, model: str, log: EventLog) -> None:
        log.append(Progress(what="load", done=0, total=100, unit="percent"))
        worker_id = f"w-{secrets.token_hex(3)}"
        self.states[worker_id] = (model, "starting")
        self.beater.poke()
        await anyio.sleep(self.spawn_s)
        if self.refuse:
            self.states[worker_id] = (model, "failed")
            self.beater.poke()
            log.append(Failed(code="bad_model_file", message="It is no GGUF file."))
            return
        flags = {"id": worker_id, "model": model, "hive_id": self.id, "queen": self.queen}
        given = [f for k, v in flags.items() for f in (f"--{k}", v)]
        command = [sys.executable, "-m", "tests.queen.stub_worker", *given]
        async with await anyio.open_process(command, stderr=None) as process:
            assert process.stdout is not None
            url = (await process.stdout.receive()).decode().split()[1]
            self.states[worker_id] = (model, "ready")
            self.beater.poke()
            spawned = Spawned(worker_id, process.pid, 1, url, model, "cpu")
            log.append(Done(finish_reason="stop", result=plain(spawned)))
            try:
                await anyio.sleep_forever()
            finally:
                process.kill()

    async def state(self, request: Request) -> Response:
        return reply(dict(self.asked))

    async def run(self) -> None:
        made = server.listen("127.0.0.1", 0)
        self.url = server.url_of(made)
        app = Starlette(
            routes=[
                Route("/v1/jobs", self.jobs, methods=["POST"]),
                Route("/state", self.state),
            ],
            exception_handlers=HANDLERS,
        )
        async with Http() as http, anyio.create_task_group() as group:
            self._group = group
            self.beater = Beater(
                http, self.queen, lambda seq: self.beat(self.beater.incarnation, seq)
            )
            await server.serve(server.Served(app, made, self.url, [self.beater.loop]))
            group.cancel_scope.cancel()


if __name__ == "__main__":
    pairs = list(pairwise(sys.argv[1:]))[::2]
    hive = StubHive({a.removeprefix("--"): b for a, b in pairs})
    server.run(hive.run)
