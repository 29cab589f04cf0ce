"""Answers as tables: the only place that imports `rich`, and only when a table is wanted.

Cells are text, never markup, for they hold names that somebody else chose.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from rbee.contracts.fleet import FleetStatus, HiveBeat, ModelEntry, WorkerProcess, WorkerStatus
from rbee.keeper.show import size
from rbee.keeper.text import line

PLAIN_WIDTH = 10_000
"""Without a terminal nothing is wrapped: another program reads it."""
SHORT = 60
"""Characters of a reason in a list; whoever asks for one thing is told the whole."""
RUNS = ("starting", "ready", "draining", "stopping")
GOOD, BAD = "green", "red"
WHY_NOT = ("WHY NOT",)
"""A column that lists of models have only when one of them cannot be used."""
STATES = {
    "ready": GOOD,
    "failed": BAD,
    "backoff": BAD,
    "starting": "yellow",
    "draining": "yellow",
    "stopping": "yellow",
    "gone": BAD,
}


def console() -> Console:
    """stdout; colours only on a terminal that wants them (`NO_COLOR` is honoured)."""
    live = sys.stdout.isatty()
    return Console(width=None if live else PLAIN_WIDTH, highlight=False, emoji=False, markup=False)


def show(*parts: RenderableType) -> None:
    console().print(*parts, sep="\n")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """A table without frames, whose title is its own line."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, header_style="dim", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(line(cell)) for cell in row))
    return made


def state(name: str) -> Text:
    return Text(line(name), style=STATES.get(name, ""))


def state_of(status: WorkerStatus) -> Text:
    """A worker's state as the queen sees it: one that reports and gets no further is wedged."""
    worker = status.worker
    if 0 < worker.step_limit_s < worker.step_age_s:
        return Text(f"wedged for {age(worker.step_age_s)}", style=BAD)
    return state(worker.state if status.alive else "gone")


def fleet(status: FleetStatus) -> Group:
    """What `rbee status` shows."""
    queue = status.queue
    head = (
        f"queen {line(status.queen)} {line(status.version)}, up {age(status.uptime_s)} · "
        f"{queue.waiting} waiting, {queue.leased} running, {queue.done} done"
    )
    return Group(
        Text(head), Text(), _hives(status), Text(), _workers(status), Text(), _models(status)
    )


def _hives(status: FleetStatus) -> RenderableType:
    if not status.hives:
        return Text("no hives yet: rbee serve --role hive --queen URL adds one")
    columns = ("ID", "STATE", "ADDRESS", "DEVICES", "MEMORY FREE", "WORKERS", "SEEN")
    rows = [
        (
            h.hive.id,
            state(h.hive.state if h.alive else "gone"),
            h.hive.url,
            ", ".join(d.id for d in h.hive.devices),
            size(h.hive.memory_free),
            str(len(h.hive.workers)),
            f"{age(h.age_s)} ago",
        )
        for h in status.hives
    ]
    return table("hives", columns, rows)


def _workers(status: FleetStatus) -> RenderableType:
    if not status.workers:
        return Text("no workers: the first request starts one")
    columns = ("ID", "MODEL", "STATE", "HIVE", "DEVICE", "SLOTS", "CONTEXT", "SEEN")
    rows = [
        (
            w.worker.id,
            with_adapters(w.worker.model, w.worker.lora),
            state_of(w),
            w.worker.hive_id,
            w.worker.device,
            f"{w.worker.busy}/{w.worker.slots}",
            str(w.worker.context),
            f"{age(w.age_s)} ago",
        )
        for w in status.workers
    ]
    return table("workers", columns, rows)


def _models(status: FleetStatus) -> RenderableType:
    broken = any(m.problem for m in status.models)
    columns = ("ID", "SIZE", "QUANT", "CONTEXT", "HIVES", "WORKERS", *WHY_NOT[:broken])
    rows = [
        (
            m.id,
            size(m.size),
            m.quantisation,
            str(m.context),
            ", ".join(m.hives),
            ", ".join(m.workers),
            *[short(m.problem)][:broken],
        )
        for m in status.models
    ]
    return table("models", columns, rows) if rows else Text("no models")


def processes(found: Sequence[WorkerProcess], whole: bool = False) -> RenderableType:
    """What `rbee worker list` shows; `whole` leaves reasons as long as they are."""
    if not found:
        return Text("no workers on this hive")
    columns = ("ID", "MODEL", "STATE", "PID", "ADDRESS", "DEVICE", "SLOTS", "MEMORY", "UP", "WHY")
    rows = [
        (
            p.worker_id,
            with_adapters(p.model, p.lora),
            state(p.state),
            str(p.pid or ""),
            p.url,
            p.device,
            str(p.slots),
            size(p.rss_bytes) if p.state in RUNS else "",
            age(p.uptime_s) if p.state in RUNS else "",
            p.reason if whole else short(p.reason),
        )
        for p in found
    ]
    return table("workers", columns, rows)


def hive(beat: HiveBeat) -> Group:
    """What `rbee hive get` shows."""
    memory = f"{size(beat.memory_free)} free of {size(beat.memory_total)}"
    pairs = [
        ("id", beat.id),
        ("state", beat.state),
        ("address", beat.url),
        ("machine", beat.hostname),
        ("version", beat.version),
        ("memory", memory),
        *((d.id, f"{d.name}, {size(d.memory_free)} free") for d in beat.devices),
        ("models", str(len(beat.models))),
    ]
    return Group(facts(pairs), Text(), processes(beat.workers))


def models(found: Sequence[ModelEntry]) -> RenderableType:
    """What `rbee model list` shows."""
    broken = any(m.problem for m in found)
    columns = ("ID", "SIZE", "QUANT", "CONTEXT", "SHA256", "LOADED BY", *WHY_NOT[:broken])
    rows = [
        (
            m.id,
            size(m.size),
            m.quantisation,
            str(m.context or ""),
            m.sha256[:12],
            ", ".join(m.loaded_by),
            *[short(m.problem)][:broken],
        )
        for m in found
    ]
    return table("models", columns, rows) if rows else Text("no models on this hive")


def with_adapters(model: str, adapters: Sequence[str]) -> str:
    """What a worker runs, and what a request may add to it."""
    return " +".join((model, *adapters))


def facts(pairs: Iterable[tuple[str, str]]) -> Table:
    """Names and values, one a line."""
    made = Table(box=None, show_header=False, pad_edge=False)
    made.add_column(style="dim")
    made.add_column(overflow="fold")
    for name, value in pairs:
        made.add_row(Text(name), Text(line(value)))
    return made


def short(text: str) -> str:
    """A reason on one line of a list."""
    said = " ".join(text.split())
    return said if len(said) <= SHORT else said[: SHORT - 1].rstrip() + "…"


def age(seconds: float) -> str:
    """A duration for people."""
    for limit, unit, divisor in ((90, "s", 1), (5_400, "min", 60), (172_800, "h", 3_600)):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
