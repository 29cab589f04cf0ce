"""The folder is the truth: what is listed, what is not, what can be removed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from rbee import bee
from rbee.errors import BadModelFile, BadRequest, ModelInUse, ModelNotFound, ModelProtected
from rbee.gguf_header import GgufHeader
from rbee.hive.catalog import Catalog
from rbee.hive.hashes import INDEX
from rbee.hive.shelf import quantisation, unfit

BEE = bee.path().read_bytes()
DIGEST = hashlib.sha256(BEE).hexdigest()


class Shop:
    """A catalog over a folder, with a list of who has what loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loaded: dict[str, list[str]] = {}
        self.changes = 0
        self._changed = anyio.Event()
        folder.mkdir(parents=True, exist_ok=True)
        self.catalog = Catalog(folder, lambda: self.loaded, self._tell)

    def _tell(self) -> None:
        self.changes += 1
        self._changed.set()
        self._changed = anyio.Event()

    def put(self, name: str, data: bytes = BEE) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    async def ids(self) -> list[str]:
        await self.catalog.refresh()
        return [entry.id for entry in self.catalog.entries()]

    async def until(self, fact: Callable[[], bool]) -> None:
        with anyio.fail_after(20):
            while not fact():
                await self._changed.wait()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "models")


def run(test: Callable[[], Awaitable[None]]) -> None:
    anyio.run(test)


def test_files_are_listed_by_their_path_and_bee_is_always_there(shop: Shop) -> None:
    async def test() -> None:
        assert await shop.ids() == ["bee"]
        for name in ("org/repo/a-Q8_0.gguf", "b.gguf", "deep/er/still/c.GGUF"):
            shop.put(name)
        assert await shop.ids() == ["bee", "b.gguf", "deep/er/still/c.GGUF", "org/repo/a-Q8_0.gguf"]
        entry = shop.catalog.find("org/repo:q8_0")
        assert (entry.id, entry.size, entry.architecture) == (
            "org/repo/a-Q8_0.gguf",
            len(BEE),
            "llama",
        )
        (shop.folder / "b.gguf").unlink()
        assert "b.gguf" not in await shop.ids()
        assert shop.catalog.find("bee").sha256 == bee.SHA256
        assert shop.catalog.find("bee").embedded

    run(test)


def test_what_is_hidden_partial_or_unnameable_is_passed_over(shop: Shop, tmp_path: Path) -> None:
    async def test() -> None:
        for name in (".partial/a.gguf", ".b.gguf", "c.gguf.incomplete", "d.txt", "e f.gguf"):
            shop.put(name)
        outside = tmp_path / "outside.gguf"
        outside.write_bytes(BEE)
        (shop.folder / "link.gguf").symlink_to(outside)
        (shop.folder / "etc").symlink_to("/etc")
        (shop.folder / "dangling.gguf").symlink_to(tmp_path / "nothing.gguf")
        (shop.folder / "circle.gguf").symlink_to("circle.gguf")
        (shop.folder / "folder.gguf").mkdir()
        os.mkfifo(shop.folder / "pipe.gguf")
        assert await shop.ids() == ["bee"]
        shop.put("real.gguf")
        (shop.folder / "inside.gguf").symlink_to(shop.folder / "real.gguf")
        assert await shop.ids() == ["bee", "inside.gguf", "real.gguf"]

    run(test)


def test_a_file_that_cannot_be_loaded_is_listed_with_the_reason(shop: Shop) -> None:
    async def test() -> None:
        shop.put("cut.gguf", BEE[: len(BEE) // 2])
        shop.put("zip.gguf", b"PK\x03\x04")
        shop.put("empty.gguf", b"")
        assert await shop.ids() == ["bee", "cut.gguf", "empty.gguf", "zip.gguf"]
        assert [bool(e.problem) for e in shop.catalog.entries()] == [False, True, True, True]
        for name, said in (("cut", "truncated"), ("zip", "begins with"), ("empty", "truncated")):
            with pytest.raises(BadModelFile, match=said):
                shop.catalog.find(f"{name}.gguf")
        assert await shop.catalog.delete("cut.gguf") == "cut.gguf"
        assert not (shop.folder / "cut.gguf").exists()
        shop.put("zip.gguf")  # mended
        assert "zip.gguf" in await shop.ids()

    run(test)


def test_digests_are_made_in_the_background_and_remembered(shop: Shop) -> None:
    async def test() -> None:
        path = shop.put("a.gguf")
        async with anyio.create_task_group() as group:
            group.start_soon(shop.catalog.loop)
            await shop.until(lambda: [e.sha256 for e in shop.catalog.entries()[1:]] == [DIGEST])
            group.cancel_scope.cancel()
        again = Shop(shop.folder)
        await again.catalog.refresh()
        assert again.catalog.find("a.gguf").sha256 == DIGEST
        stat = path.stat()
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
        await again.catalog.refresh()
        assert again.catalog.find("a.gguf").sha256 == ""

    run(test)


def test_digests_made_at_the_same_time_are_all_remembered(shop: Shop) -> None:
    names = [f"{number}.gguf" for number in range(12)]

    async def test() -> None:
        for name in names:
            shop.put(name)
        await shop.catalog.refresh()
        async with anyio.create_task_group() as group:
            for name in names[1:]:
                group.start_soon(shop.catalog.identify, shop.catalog.find(name), lambda *_: None)
        await shop.catalog.adopt(names[0], DIGEST)
        again = Catalog(shop.folder, dict, lambda: None)
        await again.refresh()
        assert {e.id: e.sha256 for e in again.entries() if not e.embedded} == dict.fromkeys(
            names, DIGEST
        )

    run(test)


@pytest.mark.parametrize("junk", [b"", b"\xff\xfe", b"[]", b'{"a.gguf": 5}', b'{"a": [1, 2, 3]}'])
def test_a_damaged_index_is_made_anew(tmp_path: Path, junk: bytes) -> None:
    async def test() -> None:
        folder = tmp_path / "models"
        folder.mkdir()
        (folder / INDEX).write_bytes(junk)
        shop = Shop(folder)
        shop.put("a.gguf")
        await shop.catalog.refresh()
        steps: list[tuple[int, int]] = []
        entry = await shop.catalog.identify(
            shop.catalog.find("a.gguf"), lambda *step: steps.append(step)
        )
        assert entry.sha256 == DIGEST
        assert steps[-1] == (len(BEE), len(BEE))
        assert DIGEST.encode() in (folder / INDEX).read_bytes()

    run(test)


def test_deleting(shop: Shop) -> None:
    async def test() -> None:
        shop.put("org/repo/a.gguf")
        shop.put("org/other/b.gguf")
        with pytest.raises(ModelProtected):
            await shop.catalog.delete("bee")
        shop.loaded = {"org/repo/a.gguf": ["a-1234"]}
        with pytest.raises(ModelInUse, match="a-1234"):
            await shop.catalog.delete("org/repo/a.gguf")
        await shop.catalog.refresh()
        assert shop.catalog.find("org/repo").loaded_by == ["a-1234"]
        shop.loaded = {}
        assert await shop.catalog.delete("org/repo") == "org/repo/a.gguf"
        assert sorted(p.name for p in (shop.folder / "org").iterdir()) == ["other"]
        with pytest.raises(ModelNotFound, match=r"org/other/b\.gguf"):
            await shop.catalog.delete("org/repo/a.gguf")

    run(test)


@pytest.mark.parametrize(
    "name", ["../x.gguf", "/etc/passwd", "a/../../x.gguf", "a\0.gguf", "x" * 10_000, "a\\b.gguf"]
)
def test_no_name_leads_out_of_the_folder(shop: Shop, name: str) -> None:
    async def test() -> None:
        shop.folder.with_name("x.gguf").write_bytes(BEE)
        with pytest.raises(BadRequest):
            shop.catalog.find(name)
        with pytest.raises(BadRequest):
            await shop.catalog.delete(name)
        assert shop.folder.with_name("x.gguf").exists()

    run(test)


def test_a_file_is_called_by_the_finest_word_it_has() -> None:
    header = GgufHeader(3, "llama", quantisation="Q4_K_M")
    assert quantisation("o/r/tiny-UD-Q4_K_XL.gguf", header) == "Q4_K_XL"
    assert quantisation("o/r/tiny.IQ2_XXS.gguf", header) == "IQ2_XXS"
    assert quantisation("o/r/tiny-bf16.gguf", header) == "BF16"
    assert quantisation("o/r/tiny.gguf", header) == "Q4_K_M"


def test_parts_of_models_are_no_models() -> None:
    assert unfit(GgufHeader(3, "llama")) == ""
    assert "a projector" in unfit(GgufHeader(3, "clip", kind="mmproj"))
    assert "a LoRA adapter" in unfit(GgufHeader(3, "llama", kind="adapter"))
    assert "'imatrix'" in unfit(GgufHeader(3, "llama", kind="imatrix"))
    assert "part 1 of 3" in unfit(GgufHeader(3, "llama", split_count=3))
