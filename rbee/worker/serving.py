"""A loaded model, served: its engine, its routes and its heartbeats, opened and closed together.

Knows no file and no llama.cpp: whatever computes (`Backend`) is served in the same way.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from socket import socket as Socket

import psutil
from anyio.to_thread import run_sync

from rbee import __version__
from rbee.config import WorkerConfig, queens
from rbee.contracts.fleet import WorkerBeat, WorkerState
from rbee.wire.beats import Beaters
from rbee.wire.drain import Drain, counted
from rbee.wire.guard import known_hosts
from rbee.wire.http import Http
from rbee.wire.server import Loop, Served, advertised_host, url_of
from rbee.worker import routes
from rbee.worker.engine.backend import Backend
from rbee.worker.engine.engine import Engine
from rbee.worker.engine.warmup import CPU_WARM_S, WARM_S, warm_up
from rbee.worker.hashing import hashed
from rbee.worker.lifeline import Lifeline, Parent
from rbee.worker.metrics import registry
from rbee.worker.prepare import LoadedModel
from rbee.worker.service import Service

ENGINE_S = 2.0
"""For the step that is being computed when the worker ends."""


@asynccontextmanager
async def serving(
    config: WorkerConfig,
    socket: Socket,
    backend: Backend,
    model: LoadedModel,
    *,
    device: str = "cpu",
    parent: Parent | None = None,
) -> AsyncIterator[Served]:
    """Everything of a worker but its loading. `parent` is let go once there is a hive to hang on.
    In the end the backend is closed, unless it still computes."""
    worker_id = config.id or f"worker-{secrets.token_hex(3)}"
    service = Service(model, worker_id, config.queue_limit)
    engine = Engine(backend, config.batch_tokens, service.publish, _end_process)
    service.attach(engine)
    if model.generates:
        left_s = CPU_WARM_S if device == "cpu" else WARM_S
        await run_sync(warm_up, backend, config.batch_tokens, engine.watch.patience, left_s)
    engine.start()
    url = url_of(socket, advertised_host(config.bind, next(iter(queens(config.queen)), "")))
    view = _Viewer(config, service, url, device)
    try:
        async with Http() as http:
            beaters = Beaters(http, queens(config.queen), view.beat)
            loops: list[Loop] = [beaters.loop, partial(hashed, model, beaters.poke)]
            if config.hive:
                hive = beaters.add(config.hive, "the hive")
                loops.append(Lifeline(hive, config.hive_grace_s, config.drain_s).loop)
                if parent is not None:
                    parent.release()
            view.incarnation = beaters.incarnation
            service.poke = beaters.poke
            app = routes.build(
                service,
                lambda: view.beat(0),
                registry(service),
                hosts=known_hosts(config.bind, config.allowed_hosts),
                ready=lambda: view.state == "ready",
                max_body_bytes=config.max_body_bytes,
            )
            stopping = partial(_stopping, view, service)
            yield Served(app, socket, url, loops, stopping, _drain(view, service, config.drain_s))
            view.state = "stopped"
            await beaters.farewell()
    finally:
        if engine.stop(ENGINE_S):
            backend.close()  # never under a running step; the process's end frees it as well


class _Viewer:
    """What the worker says of itself, in heartbeats, on its page and in `GET /v1/status`."""

    def __init__(self, config: WorkerConfig, service: Service, url: str, device: str) -> None:
        self._service = service
        self._url = url
        self._hive = config.hive_id
        self._device = device
        self._process = psutil.Process()
        self.incarnation = ""
        self.state: WorkerState = "ready"

    def beat(self, seq: int) -> WorkerBeat:
        service, engine = self._service, self._service.engine
        age, limit = engine.pulse  # as one: an old age beside a new limit would look wedged
        return WorkerBeat(
            id=service.worker_id,
            incarnation=self.incarnation,
            seq=seq,
            url=self._url,
            hive_id=self._hive,
            model=service.model.id,
            sha256=service.model.sha256,
            device=self._device,
            state=self.state,
            slots=service.model.slots,
            busy=engine.busy,
            waiting=engine.waiting,
            context=service.model.context,
            step=engine.steps,
            step_age_s=round(age, 3),
            step_limit_s=round(limit, 3),
            pid=self._process.pid,
            embeds=service.model.embeds,
            generates=service.model.generates,
            ranks=service.model.pairs is not None,
            sees=service.model.eyes is not None,
            lora=list(service.model.adapters),
            jobs=service.jobs,
            kept=service.kept,
            rss_bytes=self._process.memory_info().rss,
            version=__version__,
        )


def _drain(view: _Viewer, service: Service, limit_s: float) -> Drain:
    async def run() -> None:
        view.state = "draining"
        service.door.drain()
        service.poke()
        await service.door.emptied()

    return Drain(run, limit_s, lambda: counted(len(service.jobs), "answer"))


def _stopping(view: _Viewer, service: Service) -> None:
    view.state = "stopping"
    service.close("The worker is shutting down.")


def _end_process(reason: str) -> None:
    """The engine died: nothing here can be trusted. Whoever started us starts another."""
    with suppress(OSError):  # of a hive that is gone, the other end of the pipe is gone as well
        sys.stderr.write(f"the engine died: {reason}\n")
    os.kill(os.getpid(), signal.SIGABRT)
