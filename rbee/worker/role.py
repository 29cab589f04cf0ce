"""A worker, opened: its socket, its model, its engine, its heartbeat; closed in the other order.

What a hive reads from stdout: `progress <done> <total>` while the model loads, then `ready <url>`,
or `failed <problem>` and exit code 1.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
from anyio.to_thread import run_sync

from rbee import __version__, gguf_header
from rbee.config import WorkerConfig, context_of, queens
from rbee.contracts.fleet import WorkerBeat, WorkerState
from rbee.errors import BadModelFile, RbeeError, Usage
from rbee.wire.beats import Beaters
from rbee.wire.codec import encode
from rbee.wire.drain import Drain, counted
from rbee.wire.guard import known_hosts
from rbee.wire.http import Http
from rbee.wire.replies import problem
from rbee.wire.server import Loop, Served, advertised_host, check_bind, listen, url_of
from rbee.worker import heaps, routes
from rbee.worker.describe import described
from rbee.worker.engine.engine import Engine
from rbee.worker.engine.llama import loading
from rbee.worker.engine.llama.backend import LlamaBackend
from rbee.worker.files import find_adapters, find_model, find_projector
from rbee.worker.lifeline import Lifeline, Parent
from rbee.worker.metrics import registry
from rbee.worker.prepare import LoadedModel
from rbee.worker.service import Service

log = logging.getLogger(__name__)
PORTS_TRIED = 1_000
HASH_BLOCK = 4 * 1024 * 1024
ENGINE_S = 2.0
"""For the step that is being computed when the worker ends."""
SWITCH_INTERVAL_S = 0.0005
"""How long a thread may keep the interpreter: the engine must not wait 5 ms for the event loop."""


@asynccontextmanager
async def opened(config: WorkerConfig) -> AsyncIterator[Served]:
    """Load the model and be ready to serve it. Raises what `find_model` and the loading raise."""
    parent = Parent(config.parent)
    parent.bind()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    heaps.share()
    try:
        check_bind(config.bind, config.insecure)
        path, adapters = find_model(config.model), find_adapters(config.lora)
        projector = find_projector(config.projector)
        port, tries = (config.port_from, PORTS_TRIED) if config.port is None else (config.port, 1)
        socket = listen(config.bind, port, tries)
        backend = await run_sync(partial(load, config, path, adapters, projector))
        model = described(config, path, backend)
    except RbeeError as exc:
        if not sys.stdout.isatty():  # a person is told by the last line of stderr
            _say(f"failed {encode(problem(exc)).decode()}")
        raise
    worker_id = config.id or f"worker-{secrets.token_hex(3)}"
    service = Service(model, worker_id, config.queue_limit)
    engine = Engine(backend, config.batch_tokens, service.publish, _end_process)
    service.attach(engine)
    engine.start()
    url = url_of(socket, advertised_host(config.bind, next(iter(queens(config.queen)), "")))
    view = _Viewer(config, service, url)
    try:
        async with Http() as http:
            beaters = Beaters(http, queens(config.queen), view.beat)
            loops: list[Loop] = [beaters.loop, partial(_hash, model, beaters.poke)]
            if config.hive:
                hive = beaters.add(config.hive, "the hive")
                loops.append(Lifeline(hive, config.hive_grace_s, config.drain_s).loop)
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


def load(
    config: WorkerConfig,
    path: Path,
    adapters: Mapping[str, Path],
    projector: Path | None = None,
) -> LlamaBackend:
    """Blocking: check the header in Python, then let llama.cpp read the file."""
    context = config.context or context_of(gguf_header.read(path).context)
    if 0 < config.kv_tokens < context:
        raise Usage(
            f"--kv-tokens {config.kv_tokens} is less than one context of {context} tokens.",
            hint="raise it, or lower --ctx",
        )
    if projector is not None and gguf_header.read(projector).kind != "mmproj":
        raise BadModelFile(
            f"{projector.name} is no projector.",
            hint="--projector wants the mmproj file that belongs to the model",
        )
    loading.start()
    shown = -1

    def on_progress(part: float) -> None:
        nonlocal shown
        if (percent := int(part * 100)) > shown:
            shown = percent
            _say(f"progress {percent} 100")

    return LlamaBackend(
        path,
        slots=config.slots,
        context=context,
        batch_tokens=config.batch_tokens,
        threads=config.threads or psutil.cpu_count(logical=False) or 1,
        device=_device(config),
        gpu_layers=config.gpu_layers,
        on_progress=on_progress,
        kv_tokens=config.kv_tokens,
        adapters=adapters,
        projector=projector,
    )


def _device(config: WorkerConfig) -> str:
    gpu = loading.supports_gpu()
    if not config.device:
        return "cpu" if not gpu else "metal" if sys.platform == "darwin" else "cuda:0"
    if re.fullmatch(r"cpu|metal|cuda(:[0-9]{1,3})?", config.device) is None:
        raise Usage(f"There is no device {config.device[:80]!r}.", hint="cpu, metal or cuda:N")
    if config.device != "cpu" and not gpu:
        log.warning("llama.cpp was built for the CPU alone: %s is not used", config.device)
        return "cpu"
    return config.device


class _Viewer:
    """What the worker says of itself, in heartbeats, on its page and in `GET /v1/status`."""

    def __init__(self, config: WorkerConfig, service: Service, url: str) -> None:
        self._service = service
        self._url = url
        self._hive = config.hive_id
        self._device = _device(config)
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


async def _hash(model: LoadedModel, poke: Callable[[], None]) -> None:
    """The file's sha256, when nobody told it; large files take a while, so beside the serving."""
    if model.sha256:
        return
    ended = False
    try:
        model.sha256 = await run_sync(_sha256, model.path, lambda: ended, abandon_on_cancel=True)
    except OSError as exc:
        log.warning("%s can no longer be read, its sha256 stays unknown: %s", model.path.name, exc)
    else:
        poke()
    finally:
        ended = True


def _sha256(path: Path, ended: Callable[[], bool]) -> str:
    """Block by block: the process cannot end while a thread still reads."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while not ended() and (block := file.read(HASH_BLOCK)):
            digest.update(block)
    return digest.hexdigest()


def _end_process(reason: str) -> None:
    """The engine died: nothing here can be trusted. Whoever started us starts another."""
    with suppress(OSError):  # of a hive that is gone, the other end of the pipe is gone as well
        sys.stderr.write(f"the engine died: {reason}\n")
    os.kill(os.getpid(), signal.SIGABRT)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
