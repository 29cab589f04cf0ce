"""Adapters and projectors: which files they are, which model has them, and who asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from gguf import GGUFWriter

from rbee import bee
from rbee.contracts.fleet import FileKind, ModelEntry
from rbee.errors import BadModelFile, BadRequest, ModelAmbiguous, ModelNotFound, RbeeError
from rbee.hive.catalog import Catalog
from rbee.hive.parts import by_folder, check_fits, find, projector_of
from tests.hive.served import SPAWN, stub_hive, submit, workers
from tests.http import ask
from tests.processes import Started, role
from tests.worker import random_lora


def part(path: Path, architecture: str, kind: str = "") -> Path:
    """A GGUF file of a kind, with nothing in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, architecture)
    if kind:
        writer.add_type(kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def entry(name: str, kind: FileKind = "model", **more: Any) -> ModelEntry:
    problem = "" if kind == "model" else "It is a part."
    return ModelEntry(id=name, file=name, size=1, **{"kind": kind, "problem": problem, **more})


@pytest.mark.parametrize(
    ("model", "projectors", "chosen"),
    [
        ("o/r/m.gguf", ["o/r/mmproj.gguf"], "o/r/mmproj.gguf"),
        ("o/r/Q4_0/m.gguf", ["o/r/mmproj.gguf"], "o/r/mmproj.gguf"),
        ("o/r/a/m.gguf", ["o/r/mmproj.gguf", "o/r/a/mmproj.gguf"], "o/r/a/mmproj.gguf"),
        ("own/m.gguf", ["own/mmproj.gguf"], "own/mmproj.gguf"),
        ("o/r/m.gguf", ["o/r/mmproj-F32.gguf", "o/r/mmproj-F16.gguf"], "o/r/mmproj-F16.gguf"),
        ("o/r/m.gguf", ["o/r/b.gguf", "o/r/a.gguf"], "o/r/a.gguf"),
        ("o/r/m.gguf", ["o/other/mmproj.gguf"], ""),
        ("o/r/m.gguf", ["o/mmproj.gguf"], ""),
        ("o/r/m.gguf", ["o/r/deeper/mmproj.gguf"], ""),
        ("m.gguf", ["mmproj.gguf"], ""),
        ("bee", ["mmproj.gguf"], ""),
        ("o/r/m.gguf", [], ""),
    ],
)
def test_a_models_own_projector(model: str, projectors: list[str], chosen: str) -> None:
    assert projector_of(model, by_folder(projectors)) == chosen


SHELF = [
    entry("bee"),
    entry("o/r/m-Q8_0.gguf"),
    entry("o/r/mmproj.gguf", "projector"),
    entry("style.gguf", "adapter", architecture="llama"),
    entry("o/loras/a-Q8_0.gguf", "adapter", quantisation="Q8_0"),
    entry("o/many/a.gguf", "adapter"),
    entry("o/many/b.gguf", "adapter"),
    entry("cut.gguf", problem="It is truncated."),
]


@pytest.mark.parametrize(
    ("name", "kind", "found"),
    [
        ("style.gguf", "adapter", "style.gguf"),
        ("style", "adapter", "style.gguf"),
        ("o/loras", "adapter", "o/loras/a-Q8_0.gguf"),
        ("o/loras:q8_0", "adapter", "o/loras/a-Q8_0.gguf"),
        ("o/r", "projector", "o/r/mmproj.gguf"),
        ("o/r/mmproj.gguf", "projector", "o/r/mmproj.gguf"),
    ],
)
def test_a_part_is_named_like_a_model(name: str, kind: FileKind, found: str) -> None:
    made = find(name, kind, SHELF, "$.here")
    assert (made.id, made.problem) == (found, "")


@pytest.mark.parametrize(
    ("name", "kind", "error", "said"),
    [
        ("bee", "adapter", BadModelFile, "bee is a model, not a LoRA adapter"),
        ("style.gguf", "projector", BadModelFile, "is a LoRA adapter, not a projector"),
        ("o/r/mmproj.gguf", "adapter", BadModelFile, "is a projector, not a LoRA adapter"),
        ("cut.gguf", "adapter", BadModelFile, "It is truncated"),
        ("nothing.gguf", "projector", ModelNotFound, r"Known: o/r/mmproj\.gguf"),
        ("o/many", "adapter", ModelAmbiguous, r"o/many/a\.gguf, o/many/b\.gguf"),
        ("../x", "adapter", BadRequest, "not a model's name"),
    ],
)
def test_a_part_that_is_none(name: str, kind: FileKind, error: type[RbeeError], said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        find(name, kind, SHELF, "$.here")
    assert caught.value.path == "$.here"


def test_an_adapter_is_for_one_architecture() -> None:
    adapter, model = SHELF[3], entry("o/q/m.gguf", architecture="qwen2")
    check_fits(adapter, entry("o/q/m.gguf", architecture="llama"), "$.lora.style")
    with pytest.raises(BadRequest, match=r"for 'llama' models; .* is 'qwen2'") as caught:
        check_fits(adapter, model, "$.lora.style")
    assert caught.value.path == "$.lora.style"


def test_parts_are_listed_with_what_they_are(tmp_path: Path) -> None:
    async def test() -> None:
        catalog = Catalog(tmp_path, dict, lambda: None)
        model = tmp_path / "o" / "r" / "m.gguf"
        model.parent.mkdir(parents=True)
        model.write_bytes(bee.path().read_bytes())
        part(tmp_path / "o" / "r" / "eye.gguf", "clip")
        part(tmp_path / "style.gguf", "llama", "adapter")
        await catalog.refresh()
        kinds = {e.id: (e.kind, e.projector, bool(e.problem)) for e in catalog.entries()}
        assert kinds == {
            "bee": ("model", "", False),
            "o/r/eye.gguf": ("projector", "", True),
            "o/r/m.gguf": ("model", "o/r/eye.gguf", False),
            "style.gguf": ("adapter", "", True),
        }
        assert catalog.find("style.gguf").architecture == "llama"
        assert catalog.find_model("o/r").id == "o/r/m.gguf"
        with pytest.raises(BadModelFile, match="is a LoRA adapter") as caught:
            catalog.find_model("style.gguf")
        assert caught.value.hint == "rbee worker spawn MODEL --lora NAME=style.gguf"
        digested = await catalog.identify(catalog.find("style.gguf"), lambda *_: None)
        assert len(digested.sha256) == 64
        assert await catalog.delete("style.gguf") == "style.gguf"

    anyio.run(test)


@pytest.fixture
def stocked(tmp_path: Path) -> Iterator[Started]:
    """A hive of stubs with a model that sees, and adapters for two architectures."""
    model = tmp_path / "o" / "r" / "m.gguf"
    model.parent.mkdir(parents=True)
    model.write_bytes(bee.path().read_bytes())
    part(tmp_path / "o" / "r" / "mmproj.gguf", "clip")
    part(tmp_path / "eye.gguf", "clip", "mmproj")
    part(tmp_path / "style.gguf", "llama", "adapter")
    part(tmp_path / "other.gguf", "qwen2", "adapter")
    with stub_hive(models_dir=str(tmp_path)) as made:
        yield made


def test_a_worker_holds_its_adapters_and_its_projector(stocked: Started) -> None:
    body = {**SPAWN, "model": "o/r", "lora": {"style": "style.gguf", "again": "style"}}
    assert submit(stocked, body).status == 200
    (worker,) = workers(stocked)
    assert (sorted(worker["lora"]), worker["sees"]) == (["again", "style"], True)
    for name in ("style.gguf", "o/r/mmproj.gguf"):
        got = submit(stocked, {"operation": "model_get", "model": name}).json()
        assert got["loaded_by"] == [worker["worker_id"]]
        gone = submit(stocked, {"operation": "model_delete", "model": name})
        assert gone.json()["error"]["code"] == "model_in_use"


def test_any_model_may_be_given_a_projector(stocked: Started) -> None:
    for more, sees in (({}, False), ({"projector": "eye.gguf"}, True)):
        spawned = submit(stocked, {**SPAWN, **more}).json()
        body = {"operation": "worker_process_get", "worker_id": spawned["worker_id"]}
        assert submit(stocked, body).json()["sees"] is sees


@pytest.mark.parametrize(
    ("change", "param", "said"),
    [
        ({"model": "style.gguf"}, "model", "LoRA adapter"),
        ({"model": "eye.gguf"}, "model", "projector"),
        ({"lora": {"a": "bee"}}, "lora.a", "is a model"),
        ({"lora": {"a": "none.gguf"}}, "lora.a", "Known: other.gguf, style.gguf"),
        ({"lora": {"a": "other.gguf"}}, "lora.a", "'qwen2'"),
        ({"projector": "style.gguf"}, "projector", "not a projector"),
        ({"projector": "../x"}, "projector", "not a model's name"),
    ],
)
def test_what_cannot_be_is_refused_before_a_process_starts(
    stocked: Started, change: dict[str, Any], param: str, said: str
) -> None:
    answer = submit(stocked, {**SPAWN, **change})
    error = answer.json()["error"]
    assert answer.status in (400, 404)
    assert error["param"] == param
    assert said in error["message"]
    assert workers(stocked) == []


def test_a_real_worker_gets_its_adapter(tmp_path: Path) -> None:
    random_lora.write(tmp_path / "wild.gguf", bee.path())
    random_lora.write(tmp_path / "wide.gguf", bee.path(), widen=32)
    with role("hive", {"queen": "", "models_dir": str(tmp_path)}) as made:
        spawned = submit(made, {**SPAWN, "lora": {"wild": "wild.gguf"}}).json()
        assert ask("GET", f"{spawned['url']}/v1/status").json()["lora"] == ["wild"]
        refused = submit(made, {**SPAWN, "lora": {"wide": "wide.gguf"}})
        error = refused.json()["error"]
        assert (refused.status, error["code"]) == (400, "bad_model_file")
        assert "incorrect shape" in error["message"]
