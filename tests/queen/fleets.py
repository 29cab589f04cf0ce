"""Beats and fleets for the pure tests: plain makers, and what hypothesis draws."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from rbee.contracts.fleet import Device, HiveBeat, ModelEntry, WorkerBeat, WorkerProcess
from rbee.queen.fleet import Fleet
from rbee.queen.scheduler import Need

MODELS = ("bee", "org/repo/a.gguf", "org/repo/b.gguf", "other/one/c.gguf")
DEVICES = ("cpu", "cuda:0", "cuda:1")
NAMES = (*MODELS, "org/repo", "other/one", "no/where", "nothing")


def worker(name: str = "w", incarnation: str = "1", seq: int = 1, **more: Any) -> WorkerBeat:
    given = {
        "url": f"http://127.0.0.1:1/{name}",
        "hive_id": "",
        "model": "bee",
        "sha256": "",
        "device": "cpu",
        "state": "ready",
        "slots": 2,
        "busy": 0,
        "waiting": 0,
        "context": 64,
        "step": 0,
        "step_age_s": 0.0,
        **more,
    }
    return WorkerBeat(id=name, incarnation=incarnation, seq=seq, **given)


def hive(name: str = "h", incarnation: str = "1", seq: int = 1, **more: Any) -> HiveBeat:
    given = {
        "url": f"http://10.0.0.1:7835/{name}",
        "hostname": "far",
        "state": "ready",
        "devices": [device("cpu")],
        "models": [entry("bee")],
        "workers": [],
        "memory_total": 100,
        "memory_free": 50,
        **more,
    }
    return HiveBeat(id=name, incarnation=incarnation, seq=seq, **given)


def device(name: str, free: int = 50) -> Device:
    kind: Any = name.partition(":")[0]
    return Device(name, kind, name, 100, free)


def entry(name: str, size: int = 10, projector: str = "", sha256: str = "") -> ModelEntry:
    return ModelEntry(id=name, file=name, size=size, projector=projector, sha256=sha256)


def process(name: str, **more: Any) -> WorkerProcess:
    given = {"model": "bee", "state": "ready", **more}
    return WorkerProcess(worker_id=name, **given)


SHAS = ("", "aa", "bb")
shas = st.sampled_from(SHAS)
contexts = st.sampled_from((0, 64, 8_192))
adapters = st.lists(st.sampled_from(("style", "law")), max_size=2, unique=True)
hive_ids = st.sampled_from(("h1", "h2", "h3"))
processes = st.builds(
    process,
    st.sampled_from(("p1", "p2", "w1")),
    model=st.sampled_from(MODELS),
    state=st.sampled_from(("starting", "ready", "backoff", "failed")),
    sha256=shas,
    context=contexts,
    device=st.sampled_from(DEVICES),
    lora=adapters,
    sees=st.booleans(),
)
hives = st.builds(
    hive,
    hive_ids,
    state=st.sampled_from(("ready", "ready", "draining")),
    devices=st.lists(st.builds(device, st.sampled_from(DEVICES), st.integers(0, 100)), max_size=3),
    models=st.lists(
        st.builds(
            entry,
            st.sampled_from(MODELS),
            st.integers(0, 60),
            st.sampled_from(("", "eye.gguf")),
            shas,
        ),
        max_size=3,
        unique_by=lambda e: e.id,
    ),
    workers=st.lists(processes, max_size=2, unique_by=lambda p: p.worker_id),
)
workers = st.builds(
    worker,
    st.sampled_from(("w1", "w2", "w3", "w4")),
    hive_id=st.one_of(st.just(""), hive_ids),
    model=st.sampled_from(MODELS),
    sha256=shas,
    context=st.sampled_from((64, 8_192)),
    device=st.sampled_from(DEVICES),
    lora=adapters,
    sees=st.booleans(),
    slots=st.integers(1, 4),
    busy=st.integers(0, 4),
)


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    found = draw(st.lists(workers, max_size=4, unique_by=lambda w: w.id))
    cut = draw(st.integers(0, len(found)))
    return Fleet(
        hives=draw(st.lists(hives, max_size=3, unique_by=lambda h: h.id)),
        missing=draw(st.lists(hives, max_size=1)),
        silent=draw(st.lists(workers, max_size=1)),
        workers=found[:cut],
        hesitant=found[cut:],
        settled=draw(st.booleans()),
        local=frozenset(draw(st.sets(hive_ids, max_size=1))),
    )


needs = st.builds(
    Need,
    st.sampled_from(NAMES),
    hive_id=st.none() | st.sampled_from(("h1", "h2", "nobody", "localhost")),
    worker_id=st.none() | st.sampled_from(("w1", "nobody")),
    device=st.none() | st.sampled_from(("cpu", "cuda", "cuda:1", "metal")),
    lora=st.none() | st.sampled_from(("style", "none")),
    sees=st.booleans(),
    sha256=shas,
    context=contexts,
)
