"""A worker, opened: its socket, its model; then all that serves it (`serving`).

What a hive reads from stdout: `progress <done> <total>` while the model loads, then `ready <url>`,
or `failed <problem>` and exit code 1.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import psutil
from anyio.to_thread import run_sync

from rbee import gguf_header
from rbee.config import WorkerConfig, context_of
from rbee.errors import BadModelFile, RbeeError, Usage
from rbee.wire.codec import encode
from rbee.wire.replies import problem
from rbee.wire.server import Served, check_bind, listen
from rbee.worker import heaps
from rbee.worker.describe import described
from rbee.worker.engine.llama import loading
from rbee.worker.engine.llama.backend import LlamaBackend
from rbee.worker.files import find_adapters, find_model, find_projector
from rbee.worker.lifeline import Parent
from rbee.worker.serving import serving

log = logging.getLogger(__name__)
PORTS_TRIED = 1_000
SWITCH_INTERVAL_S = 0.0005
"""How long a thread may keep the interpreter: the engine must not wait 5 ms for the event loop."""


@asynccontextmanager
async def opened(config: WorkerConfig) -> AsyncIterator[Served]:
    """Load the model and be ready to serve it. Raises what `find_model` and the loading raise."""
    parent = Parent(config.parent)
    parent.bind()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    heaps.share()
    async with AsyncExitStack() as stack:
        with _told():
            check_bind(config.bind, config.insecure)
            path, adapters = find_model(config.model), find_adapters(config.lora)
            projector = find_projector(config.projector)
            port, tries = config.port, 1
            if port is None:
                port, tries = config.port_from, PORTS_TRIED
            socket = listen(config.bind, port, tries)
            backend = await run_sync(partial(load, config, path, adapters, projector))
            model, device = described(config, path, backend), _device(config)
            served = await stack.enter_async_context(
                serving(config, socket, backend, model, device=device, parent=parent)
            )
        yield served


@contextmanager
def _told() -> Iterator[None]:
    """What goes wrong before it serves is told to whoever started it."""
    try:
        yield
    except RbeeError as exc:
        if not sys.stdout.isatty():  # a person is told by the last line of stderr
            _say(f"failed {encode(problem(exc)).decode()}")
        raise


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


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
