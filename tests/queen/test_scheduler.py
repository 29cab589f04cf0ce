"""The scheduler: properties over drawn fleets, and the order of its branches by example."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rbee.contracts.fleet import ModelEntry, WorkerBeat
from rbee.errors import BadRequest, ModelAmbiguous, RbeeError
from rbee.naming import device_fits
from rbee.queen.fleet import Fleet, seat
from rbee.queen.scheduler import Assign, Decision, Download, Need, Refuse, Spawn, Wait, choose
from tests.queen.fleets import device, entry, fleets, hive, needs, process, worker

loads = st.dictionaries(st.sampled_from(("w1", "w2", "w3", "w4")), st.integers(0, 4))
barreds = st.sets(st.sampled_from(("w1", "w2", "w3", "w4")))


def fitting(need: Need, fleet: Fleet, model: str) -> list[WorkerBeat]:
    hives = {h.id for h in fleet.hives_named(need.hive_id)}
    return [
        w
        for w in fleet.workers
        if (w.sha256 == need.sha256 if need.sha256 else w.model == model)
        and need.worker_id in (None, w.id)
        and (need.hive_id is None or w.hive_id in hives)
        and device_fits(w.device, need.device)
        and (need.lora is None or need.lora in w.lora)
        and (w.sees or not need.sees)
        and w.context >= need.context
    ]


def barely(need: Need, fleet: Fleet) -> list[WorkerBeat]:
    """Workers of just this model that fit, but are silent."""
    silent = Fleet(workers=fleet.silent)
    hive_id = need.hive_id
    return [
        w
        for w in fitting(replace(need, hive_id=None), silent, need.model)
        if hive_id in (None, w.hive_id)
    ]


def has_it(need: Need, entry: ModelEntry, model: str) -> bool:
    same = entry.sha256 == need.sha256 if need.sha256 else entry.id == model
    return same and bool(entry.projector or not need.sees)


@given(needs, fleets(), loads, barreds)
def test_every_decision_is_allowed(
    need: Need, fleet: Fleet, load: dict[str, int], names: set[str]
) -> None:
    leased = Counter({seat(w): min(load.get(w.id, 0), w.slots) for w in fleet.workers})
    barred = {(name, "1") for name in names}
    decision = choose(need, fleet, leased, barred)
    assert repr(decision) == repr(choose(need, fleet, leased, barred))
    match decision:
        case Assign(chosen):
            able = [w for w in fitting(need, fleet, chosen.model) if seat(w) not in barred]
            assert chosen in able
            assert leased[seat(chosen)] < chosen.slots
            least = min(leased[seat(w)] / w.slots for w in able)
            assert leased[seat(chosen)] / chosen.slots == least
        case Wait("busy"):
            able = fitting(need, fleet, fleet.id_of(need.model))
            assert able
            assert all(leased[seat(w)] == w.slots or seat(w) in barred for w in able)
        case Wait("settling"):
            unread = any(not e.sha256 for h in fleet.hives for e in h.models)
            assert not fleet.settled or (need.sha256 and unread)
        case Spawn(where, model, _, context):
            assert not fitting(need, fleet, model)
            assert where in fleet.hives_named(need.hive_id)
            assert where.state == "ready"
            assert any(has_it(need, m, model) for m in where.models if m.id == model)
            assert need.lora is None, "no hive would know which file is meant"
            assert any(device_fits(d.id, need.device) for d in where.devices)
            assert (context or 0) >= need.context
        case Download(where, model):
            assert not any(w.model == need.model for w in barely(need, fleet))
            assert not need.sha256, "a hub may have other content under the name by now"
            entry = fleet.entry(model)
            allowed = fleet.hives_named(need.hive_id)
            assert fleet.settled and where in allowed and where.state == "ready"
            assert not any(
                entry is not None and m.id == entry.id and device_fits(d.id, need.device)
                for hive in allowed
                for m in hive.models
                for d in hive.devices
            ), "a hive that may be asked has it already"
        case Refuse(error):
            assert fleet.settled or isinstance(error, BadRequest | ModelAmbiguous)
            assert error.message.endswith(".")
            if error.status in (404, 502, 503):
                assert not barely(need, fleet), "it may only be late"
        case Wait():
            pass


def refusal(decision: Decision) -> RbeeError:
    assert isinstance(decision, Refuse), decision
    return decision.error


def test_the_branches_in_their_order() -> None:
    idle, full = worker("idle"), worker("full", slots=1)
    taken = Counter({seat(full): 1})
    need = Need("bee")
    roomy = hive("roomy", devices=[device("cpu", 80)])
    tight = hive("tight", devices=[device("cpu", 20)])
    assert choose(need, Fleet(workers=[full, idle]), taken) == Assign(idle)
    assert choose(need, Fleet(workers=[full], hives=[roomy]), taken) == Wait("busy")
    for state in ("starting", "backoff"):
        coming = hive("roomy", workers=[process("p", state=state)])
        assert choose(need, Fleet(hives=[coming]), {}) == Wait("starting", "bee", "roomy")
    unheard = hive("roomy", workers=[process("p", state="ready")])
    assert choose(need, Fleet(hives=[unheard]), {}) == Wait("silent")
    assert choose(need, Fleet(hives=[tight, roomy]), {}) == Spawn(roomy, "bee")
    assert choose(Need("a/b"), Fleet(hives=[tight, roomy]), {}) == Download(roomy, "a/b")
    unknown = refusal(choose(Need("nope"), Fleet(hives=[roomy]), {}))
    assert (unknown.code, "bee" in unknown.message) == ("model_not_found", True)
    assert refusal(choose(need, Fleet(), {})).code == "no_hive"


def test_who_declined_is_asked_again_where_nobody_else_is_free() -> None:
    idle, busy = worker("idle"), worker("busy", busy=1)
    need, leased = Need("bee", declined_by="idle"), Counter({seat(busy): 1})
    assert choose(need, Fleet(workers=[idle, busy]), leased) == Assign(busy)
    assert choose(need, Fleet(workers=[idle]), leased) == Assign(idle)


def test_an_accelerator_that_holds_the_model_has_the_most_room() -> None:
    gpu = hive("gpu", devices=[device("cpu", 10), device("cuda:0", 20)])
    big = hive("big", devices=[device("cpu", 90)])
    assert choose(Need("bee"), Fleet(hives=[big, gpu]), {}) == Spawn(gpu, "bee")
    heavy = [entry("bee", 30)]
    gpu.models, big.models = heavy, heavy
    assert choose(Need("bee"), Fleet(hives=[big, gpu]), {}) == Spawn(big, "bee")


def test_localhost_is_the_hive_on_the_queens_machine() -> None:
    here, there = hive("here"), hive("there", devices=[device("cpu", 99)])
    fleet = Fleet(hives=[here, there], local=frozenset({"here"}))
    assert choose(Need("bee", hive_id="localhost"), fleet, {}) == Spawn(here, "bee")
    assert choose(Need("bee"), fleet, {}) == Spawn(there, "bee")


def test_an_adapter_is_only_where_it_was_named_at_the_start() -> None:
    plain, styled = worker("plain"), worker("styled", lora=["style"], slots=1)
    fleet, need = Fleet(hives=[hive()], workers=[plain, styled]), Need("bee", lora="style")
    assert choose(need, fleet, {}) == Assign(styled)
    assert choose(need, fleet, {seat(styled): 1}) == Wait("busy")
    assert choose(Need("bee"), fleet, {seat(styled): 1}) == Assign(plain)
    coming = hive(workers=[process("p", state="starting", lora=["style"])])
    assert choose(need, Fleet(hives=[coming], workers=[plain]), {}) == Wait("starting", "bee", "h")
    error = refusal(choose(Need("bee", lora="law"), fleet, {}))
    assert (error.status, error.path) == (400, "$.lora")
    assert "Known: style (on styled)." in error.message
    assert refusal(choose(Need("a/b", lora="law"), fleet, {})).path == "$.lora"
    assert choose(Need("bee", lora="law"), Fleet(settled=False, workers=[plain]), {}) == Wait(
        "settling"
    )


def test_pictures_go_to_who_sees() -> None:
    blind, seeing = worker("blind"), worker("seeing", sees=True)
    need = Need("bee", sees=True)
    assert choose(need, Fleet(workers=[blind, seeing]), {}) == Assign(seeing)
    with_projector = hive("far", models=[entry("bee", projector="eye.gguf")])
    fleet = Fleet(hives=[hive("near", devices=[device("cpu", 99)]), with_projector])
    assert choose(need, fleet, {}) == Spawn(with_projector, "bee")
    assert choose(Need("bee"), fleet, {}) == Spawn(fleet.hives[0], "bee")
    for needs_it in (need, Need("bee", worker_id="blind", sees=True)):
        error = refusal(choose(needs_it, Fleet(hives=[hive()], workers=[blind]), {}))
        assert (error.status, error.path) == (400, "$.messages")
        assert "reads text alone" in error.message


def test_refusals_name_what_is_known() -> None:
    fleet = Fleet(hives=[hive("here")], workers=[worker("w", model="c.gguf", hive_id="here")])
    cases = {
        Need("bee", hive_id="x"): ("hive_not_found", "here"),
        Need("bee", worker_id="x"): ("worker_not_found", "w"),
        Need("bee", worker_id="w"): ("worker_not_found", "c.gguf"),
        Need("bee", device="metal"): ("not_found", "cpu"),
    }
    for need, (code, known) in cases.items():
        error = refusal(choose(need, fleet, {}))
        assert (error.code, known in error.message) == (code, True), error.message
        unsettled = Fleet(hives=fleet.hives, workers=fleet.workers, settled=False)
        assert choose(need, unsettled, {}) == Wait("settling")


def test_no_text_is_asked_of_a_model_that_makes_vectors() -> None:
    """It is refused where a worker tells; nobody starts one more to ask again."""
    fleet = Fleet(hives=[hive()], workers=[worker(generates=False)])
    told = refusal(choose(Need("bee", generates=True), fleet, {}))
    assert isinstance(told, BadRequest) and "does not generate" in told.message
    assert choose(Need("bee"), fleet, {}) == Assign(fleet.workers[0])


def test_an_answer_goes_on_with_the_same_content_alone() -> None:
    twin = worker("twin", model="other/name/x.gguf", sha256="aa", context=4_096)
    namesake, unread = worker("namesake", sha256="bb"), worker("unread", sha256="")
    need = Need("bee", sha256="aa", context=100)
    fleet = Fleet(workers=[namesake, unread, twin])
    assert choose(need, fleet, {}) == Assign(twin)
    assert choose(need, fleet, {}, {seat(twin)}) == Wait("busy")
    assert choose(need, fleet, {seat(twin): 2}) == Wait("busy")
    error = refusal(choose(Need("bee", sha256="aa", context=5_000), fleet, {}))
    assert (error.code, "5000 tokens" in error.message) == ("worker_gone", True)


def test_an_answer_has_a_worker_started_or_waits_for_one() -> None:
    need = Need("bee", sha256="aa", context=5_000)
    having = hive("far", models=[entry("mine.gguf", sha256="aa")])
    lacking = hive("near", models=[entry("bee", sha256="bb")], devices=[device("cpu", 99)])
    spawn = Spawn(having, "mine.gguf", None, 5_000)
    assert choose(need, Fleet(hives=[lacking, having]), {}) == spawn
    short = choose(Need("bee", sha256="aa", context=9), Fleet(hives=[having]), {})
    assert isinstance(short, Spawn) and short.context == 4_096, "others may use it afterwards"
    waits = {
        Wait("starting", "bee", "h"): [process("p", state="backoff", sha256="aa")],
        Wait("silent"): [process("p", state="ready", sha256="aa")],
    }
    for wait, listed in waits.items():
        assert choose(need, Fleet(hives=[hive("h", workers=listed)]), {}) == wait
    starting = hive("h", workers=[process("p", state="starting")])
    assert choose(need, Fleet(hives=[starting]), {}) == Wait("starting", "bee", "h")
    assert choose(need, Fleet(hives=[lacking], missing=[having]), {}) == Wait("silent")
    assert choose(need, Fleet(hives=[hive("h")]), {}) == Wait("settling"), "it is being read"
    for fleet in (Fleet(hives=[lacking]), Fleet(hives=[lacking], workers=[worker(sha256="bb")])):
        assert refusal(choose(need, fleet, {})).code == "worker_gone"
    assert choose(need, Fleet(settled=False), {}) == Wait("settling")


def test_nothing_is_started_where_it_drains() -> None:
    for state in ("draining", "stopping"):
        emptied = hive("h", state=state, devices=[device("cpu", 99)])
        assert choose(Need("bee"), Fleet(hives=[emptied, hive("o")]), {}) == Spawn(hive("o"), "bee")
        for name in ("bee", "org/repo"):
            error = refusal(choose(Need(name), Fleet(hives=[emptied]), {}))
            assert (error.status, error.code) == (503, "unavailable")
        twin = hive("h", state=state, models=[entry("bee", sha256="aa")])
        assert (
            refusal(choose(Need("bee", sha256="aa"), Fleet(hives=[twin]), {})).code == "unavailable"
        )


def test_whoever_is_only_late_is_waited_for_before_anything_is_refused_or_fetched() -> None:
    late = worker("late", model="org/repo/x.gguf", hive_id="far", sha256="aa")
    fleet = Fleet(hives=[hive("h")], silent=[late])
    assert choose(Need("org/repo"), fleet, {}) == Wait("silent")
    assert choose(Need("org/repo", hive_id="far"), fleet, {}) == Wait("silent")
    assert choose(Need("bee", sha256="aa"), fleet, {}) == Wait("settling"), "bee is being read"
    assert choose(Need("org/repo", sha256="aa"), fleet, {}) == Wait("silent")
    assert choose(Need("bee"), fleet, {}) == Spawn(fleet.hives[0], "bee")
    here = hive("h", models=[entry("org/repo/x.gguf")])
    spawn = Spawn(here, "org/repo/x.gguf")
    assert choose(Need("org/repo"), Fleet(hives=[here], silent=[late]), {}) == spawn
    assert refusal(choose(Need("nope"), fleet, {})).code == "model_not_found"
