"""A model's first steps, before anybody asks: what loads late is loaded, and `Patience` knows how
long steps take here. In the thread that loads the model; the engine's has not begun.

1. The first step loads kernels and reads weights, and says nothing about others.
2. Then steps of growing size, as long as the next one is sure to fit into the time there is: on an
   accelerator up to a whole batch, on a CPU to where a prompt's cost can be told from.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from rbee.errors import BadModelFile
from rbee.worker.engine.backend import Backend, Chunk, DecodeFailed, NoRoom
from rbee.worker.engine.passes import FILLER
from rbee.worker.engine.patience import Load, Patience

log = logging.getLogger(__name__)
CPU_WARM_S = 0.25
WARM_S = 2.0
"""On accelerators, where what is loaded late is loaded once for each size."""
GROWS = 4


def warm_up(backend: Backend, budget: int, patience: Patience, left_s: float) -> None:
    """Compute a few tokens of nobody's and forget them. `budget`: those of a step at most. A model
    that refuses even that says so to whoever asks it. Raises `BadModelFile` when nothing can be
    trusted after it."""
    try:
        _compute(backend, 1)
        for size in sizes(max(1, min(budget, backend.context - 1))):
            took = _compute(backend, size)
            patience.observe(Load(size, size), took)
            left_s -= took
            if GROWS * took > left_s:
                return
    except NoRoom:
        log.warning("no room for the first step of %d tokens", budget)
    except DecodeFailed as exc:
        if exc.fatal:
            raise BadModelFile(f"llama.cpp cannot compute with this model: {exc}.") from exc
        log.warning("the first step could not be computed: %s", exc)


def sizes(most: int) -> Iterator[int]:
    """From one token to `most`, each `GROWS` times the one before."""
    size = 1
    while size < most:
        yield size
        size *= GROWS
    yield most


def _compute(backend: Backend, size: int) -> float:
    """Seconds for a step of so many tokens in the first slot, which is empty before and after."""
    began = time.monotonic()
    try:
        backend.decode([Chunk(0, 0, [FILLER] * size, outputs=1)])
        backend.rows()
    finally:
        backend.trim(0, 0)
    return time.monotonic() - began
