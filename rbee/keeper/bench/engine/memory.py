"""What the worker itself takes, beside the model and its KV cache: `RssAnon`, so on Linux alone.

Anonymous memory is what a process wrote itself: the KV cache, weights that llama.cpp repacked for
the processor, its scratch buffers, Python. A model file that is mapped is none of it. What
llama.cpp allocated is told by the bare loop, which allocates the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from rbee.keeper.bench.engine import asking
from rbee.keeper.bench.engine.plan import SLOTS, Plan, Subject
from rbee.keeper.bench.engine.streams import together
from rbee.keeper.bench.table import Row, row

MODEL = ("model", "KV", "RS")
"""Buffers that are the model and its cache; the others are counted as the worker's own."""
SHORT_TOKENS = 4
_ANONYMOUS = re.compile(r"^RssAnon:\s+([0-9]+) kB$", re.MULTILINE)


def anonymous(pid: int) -> int | None:
    """Bytes of anonymous memory; None where the system does not tell."""
    status = Path(f"/proc/{pid}/status")
    found = _ANONYMOUS.search(status.read_text()) if status.exists() else None
    return None if found is None else int(found[1]) * 1_024


def rows(subject: Subject, plan: Plan, loaded: int, buffers: Mapping[str, int]) -> Iterator[Row]:
    """`loaded` is what the worker had just after its start. It is measured last: whatever grows
    when it is first used has been used by then."""
    model = sum(buffers.get(kind, 0) for kind in MODEL)
    busy = _after(subject, 2 * SLOTS)
    later = _after(subject, plan.requests)
    own = {
        "just loaded": (loaded - model, "< 150"),
        "when warm": (busy - model, "< 150"),
        f"after {plan.requests} more requests": (later - model, "< 150"),
        f"grown over these {plan.requests}": (later - busy, "0"),
    }
    for when, (size, aim) in own.items():
        yield row(f"{subject.name}, own memory, {when}", "MB", [size / 1e6], aim)


def _after(subject: Subject, requests: int) -> int:
    """The worker's anonymous memory when it has answered so many short requests."""
    for start in range(0, requests, SLOTS):
        count = min(SLOTS, requests - start)
        prompts = [subject.drawer.ids() for _ in range(count)]
        bodies = [asking.body(prompt, SHORT_TOKENS, asking.SAMPLED) for prompt in prompts]
        for stream in together(subject.url, asking.PATH, bodies):
            stream.usage()
    found = anonymous(subject.pid)
    assert found is not None
    return found
