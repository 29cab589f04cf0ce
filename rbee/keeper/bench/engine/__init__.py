"""`rbee bench engine`: the worker beside what llama.cpp could do at best on this machine.

`docs/benchmarks.md` tells what each row means. Knows of the worker what its HTTP interface says,
and of its process the memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from rbee.keeper.bench import weights
from rbee.keeper.bench.engine import asking, memory, prompts, speculation
from rbee.keeper.bench.engine.limit import limit
from rbee.keeper.bench.engine.peer import peer
from rbee.keeper.bench.engine.plan import Plan, Subject, settings
from rbee.keeper.bench.engine.speed import Speed
from rbee.keeper.bench.table import Row
from rbee.keeper.throwaway import PYTHON, home, running

SHAPES = {"small": weights.SMALL, "large": weights.LARGE, "tiny": weights.TINY}


def measure(names: tuple[str, ...], plan: Plan) -> Iterator[Row]:
    """All rows of the named models, then those of the embedded one."""
    if plan.peer is None:
        _note("no llama-server on this machine's PATH (nor named by --peer): its rows are left out")
    with home() as env:
        for name in names:
            yield from _model(name, plan, env)
        yield from speculation.measure(env, plan.runs, plan.tokens, plan.threads)


def _model(name: str, plan: Plan, env: Mapping[str, str]) -> Iterator[Row]:
    shape = SHAPES[name]
    _note(f"{name} has {shape.parameters / 1e6:.1f} M parameters in {shape.quantisation}")
    file = Path(env["RBEE_HOME"]) / f"{name}.gguf"
    weights.write(file, shape)
    serving = {**env, **settings(file, asking.MODEL, plan.threads)}
    with ExitStack() as opened:
        worker = opened.enter_context(running([*PYTHON, "serve", "--role", "worker"], serving))
        url = worker.ready()
        loaded = memory.anonymous(worker.pid)
        bare = opened.enter_context(limit(serving))
        other = None
        if plan.peer is not None:
            other = opened.enter_context(peer(plan.peer, file, plan.threads, env))
        subject = Subject(name, url, worker.pid, asking.Drawer(shape.vocabulary))
        speed = Speed(subject, bare, other, plan)
        speed.measure()
        if speed.short:
            _note("some streams were too short to run side by side: measure with more --tokens")
        yield from speed.rows()
        yield from prompts.arriving(subject, plan.runs)
        yield from prompts.second_turn(subject, plan.runs)
        yield from prompts.shared_system(subject, plan.runs)
        if loaded is None:
            _note("this system does not tell anonymous memory: the rows of memory are left out")
        else:
            yield from memory.rows(subject, plan, loaded, bare.buffers)
    file.unlink()


def _note(text: str) -> None:
    sys.stderr.write(f"note: {text}\n")
