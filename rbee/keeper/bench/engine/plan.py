"""What `rbee bench engine` shall do, and what a measurement of one model is given for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rbee.keeper.bench.engine.asking import Drawer

SLOTS = 16
CONTEXT = 2_560
"""For each slot: the long prompt of 2,000 tokens, and what is said after it."""
SHA256 = "0" * 64
"""Any: a worker that is told none computes it, beside its first answers."""


@dataclass(frozen=True)
class Plan:
    """What a person chose."""

    widths: tuple[int, ...] = (1, 2, 4, 8, 16)
    runs: int = 5
    tokens: int = 64
    threads: int = 0
    """0: the machine's physical cores."""
    requests: int = 500
    """Short ones, between two looks at the worker's memory."""
    peer: Path | None = None
    """A `llama-server` to compare with."""


@dataclass(frozen=True)
class Subject:
    """A model that is served, and what is needed to ask its worker."""

    name: str
    """What its rows begin with."""
    url: str
    pid: int
    drawer: Drawer


def settings(file: Path, model: str, threads: int, speculate: int = 0) -> Mapping[str, str]:
    """A worker's settings, as its environment; the bare loop has the same. Guessing is off unless
    it is what is measured: a random model repeats itself, and would be guessed too well."""
    values = {
        "model": file,
        "model_id": model,
        "sha256": SHA256,
        "port": 0,
        "slots": SLOTS,
        "context": CONTEXT,
        "threads": threads,
        "speculate_tokens": speculate,
    }
    return {f"RBEE_{key.upper()}": str(value) for key, value in values.items()}
