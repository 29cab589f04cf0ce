"""The worker's own counters, off its `/metrics`, and what they grew by."""

from __future__ import annotations

import time

from rbee.client.transport import call
from rbee.errors import Late, Upstream

IDLE_S = 60.0
LOOK_S = 0.02

Counters = dict[str, float]


def read(url: str) -> Counters:
    """Every sample without labels, by its name."""
    lines = call("GET", f"{url}/metrics").decode().splitlines()
    pairs = (line.split() for line in lines if line and line[0] != "#" and "{" not in line)
    return {name: float(value) for name, value, *_ in pairs}


def grown(before: Counters, after: Counters, name: str) -> float:
    """How much a counter grew. Raises `Upstream` when the worker has none of that name."""
    if name not in after:
        raise Upstream(f"The worker has no counter {name}.")
    return after[name] - before[name]


def computed(before: Counters, after: Counters) -> float:
    """Prompt tokens that were really computed."""
    read_all = grown(before, after, "rbee_prompt_tokens_total")
    return read_all - grown(before, after, "rbee_cached_tokens_total")


def engine_share(before: Counters, after: Counters) -> float:
    """What of the steps' time was not spent in `llama_decode`."""
    step = grown(before, after, "rbee_engine_step_seconds_total")
    return 1 - grown(before, after, "rbee_engine_decode_seconds_total") / step


def await_idle(url: str) -> None:
    """Wait until the worker has let go of streams that were left."""
    ends = time.monotonic() + IDLE_S
    while read(url)["rbee_slots_busy"]:
        if time.monotonic() > ends:
            raise Late(f"The worker was still busy after {IDLE_S:.0f} s.")
        time.sleep(LOOK_S)
