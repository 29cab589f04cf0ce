"""The projector against llama.cpp itself: our spans, decoded by us, are what mtmd makes of them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast, get_args

import llama_cpp as c
import numpy as np
import psutil
import pytest
from llama_cpp import mtmd_cpp as mtmd
from numpy.typing import NDArray

from rbee.errors import BadModelFile, BadRequest, Overloaded
from rbee.worker.engine.backend import Chunk
from rbee.worker.engine.llama import kept, loading, pictures
from rbee.worker.engine.llama.batch import Batch
from rbee.worker.engine.llama.vision import Projector
from rbee.worker.engine.span import Picture, Seen
from tests.worker import random_projector as random
from tests.worker.random_projector import Kind

KINDS = cast(tuple[Kind, ...], get_args(Kind))
ROOM = 64
Parts = list[str | Picture]


def picture(seed: int, width: int = 40, height: int = 32) -> Picture:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Picture(width, height, pixels.tobytes(), f"picture-{seed}-{width}x{height}")


@contextmanager
def context_of(model: Any) -> Iterator[Any]:
    params = c.llama_context_default_params()
    params.n_ctx = 1_024
    params.n_batch = params.n_ubatch = ROOM
    params.n_threads = params.n_threads_batch = 1
    context = c.llama_init_from_model(model, params)
    try:
        yield context
    finally:
        c.llama_free(context)


@contextmanager
def eyes(folder: Path, kind: Kind) -> Iterator[tuple[Any, Projector]]:
    files = random.pair(folder, kind)
    with ExitStack() as opened:
        model = loading.load(files.model, "cpu", 0, lambda _: None)
        opened.callback(c.llama_model_free, model)
        projector = Projector(files.projector, model, threads=1, device="cpu", batch_tokens=ROOM)
        opened.callback(projector.close)
        yield model, projector


@pytest.fixture(scope="module", params=KINDS)
def seeing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Projector]]:
    loading.start()
    with eyes(tmp_path_factory.mktemp(request.param), request.param) as found:
        yield found


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Projector]]:
    loading.start()
    with eyes(tmp_path_factory.mktemp("one"), "llava") as found:
        yield found


def read(projector: Projector, parts: Parts) -> Seen:
    with projector.looking(parts, add_special=True) as look:
        return look.seen()


def logits(model: Any, projector: Projector, parts: Parts) -> NDArray[np.float32]:
    """After the last token of the prompt, decoded as the engine does: pictures whole, the text
    between them in batches."""
    prompt = read(projector, parts)
    with context_of(model) as context:
        batch, at = Batch(ROOM), 0
        while at < len(prompt.ids):
            if (span := prompt.images.get(at)) is not None:
                assert pictures.decode(context, 0, span, ROOM) == 0
                at += span.places
                continue
            ends = [start for start in prompt.images if start > at]
            text = prompt.ids[at : min([*ends, at + ROOM, len(prompt.ids)])]
            batch.fill([Chunk(0, at, text, 1)])
            assert c.llama_decode(context, batch.c) == 0
            at += len(text)
        return row(model, context)


def by_mtmd(model: Any, projector: Projector, parts: Parts) -> NDArray[np.float32]:
    """The same by mtmd's own loop."""
    with projector.looking(parts, add_special=True) as look, context_of(model) as context:
        past = c.llama_pos(0)
        for number, chunk in enumerate(look.chunks):
            last = number == len(look.chunks) - 1
            code = mtmd.mtmd_helper_eval_chunk_single(
                projector.pointer, context, chunk, past, 0, ROOM, last, ctypes.byref(past)
            )
            assert code == 0
        assert past.value == len(look.seen().ids)
        return row(model, context)


def row(model: Any, context: Any) -> NDArray[np.float32]:
    size = c.llama_vocab_n_tokens(c.llama_model_get_vocab(model))
    pointer = c.llama_get_logits_ith(context, -1)
    return np.ctypeslib.as_array(pointer, shape=(size,)).copy()


@pytest.mark.parametrize(
    "parts",
    [
        ["What is this? ", picture(1), " Say."],
        [picture(1), "x"],
        ["a" * 100, picture(1), picture(2, 100, 30), " and ", picture(1), "b" * 100],
        ["no picture at all"],
    ],
    ids=["between", "first", "several", "none"],
)
def test_what_the_model_sees_is_what_mtmd_shows_it(
    seeing: tuple[Any, Projector], parts: Parts
) -> None:
    ours = logits(*seeing, parts)
    np.testing.assert_allclose(ours, by_mtmd(*seeing, parts), rtol=1e-4, atol=1e-4)


def test_another_picture_another_answer(seeing: tuple[Any, Projector]) -> None:
    first, again, other = (
        logits(*seeing, ["Look: ", picture(seed), " well?"]) for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert np.abs(first - other).max() > 1e-2


def test_prompts_share_a_prefix_as_far_as_they_show_the_same(
    seeing: tuple[Any, Projector],
) -> None:
    _, projector = seeing
    one = read(projector, ["Look: ", picture(1), " well?"])
    [(start, span)] = one.images.items()
    longer = read(projector, ["Look: ", picture(1), " well? ", picture(1), " again?"])
    other = read(projector, ["Look: ", picture(2), " well?"])
    assert longer.ids[: len(one.ids)] == one.ids
    assert other.ids[:start] == one.ids[:start]
    places = range(start, start + span.places)
    assert all(one.ids[at] < 0 and one.ids[at] != other.ids[at] for at in places)
    assert len({one.ids[at] for at in places}) == span.places


def test_a_prompt_costs_the_cells_of_its_pictures(seeing: tuple[Any, Projector]) -> None:
    _, projector = seeing
    with projector.looking(["Look: ", picture(1), " well?"], add_special=True) as look:
        prompt = look.seen()
        ids = look.ids()
        assert look.cells == prompt.cells == len(ids)
    [span] = prompt.images.values()
    assert ids.count(-1) == span.cells == len(span.vectors)
    assert [i for i in ids if i >= 0] == [i for i in prompt.ids if i >= 0]


def test_positions_of_two_dimensions(tmp_path: Path) -> None:
    loading.start()
    with eyes(tmp_path, "qwen2vl") as (_, projector):
        prompt = read(projector, ["Look: ", picture(1, 64, 32), "well?"])
    [(start, span)] = prompt.images.items()
    assert (span.cells, span.places) == (32, 8)
    rows, columns = span.positions[1:3] - start
    assert list(columns) == [*range(8)] * 4
    assert list(rows) == [at // 8 for at in range(32)]


def test_what_looks_like_a_marker_is_text(llava: tuple[Any, Projector]) -> None:
    _, projector = llava
    marker = mtmd.mtmd_default_marker().decode()
    with projector.looking([f"{marker}\0", picture(1), marker], add_special=False) as look:
        assert look.ids().count(-1) == random.IMAGE_TOKENS["llava"]
        assert look.cells == random.IMAGE_TOKENS["llava"] + 2 * len(marker) + 1


def test_a_prompt_that_ends_with_an_image_asks_nothing(llava: tuple[Any, Projector]) -> None:
    with pytest.raises(BadRequest, match="ends with an image"):
        read(llava[1], ["Look: ", picture(1)])


def test_a_picture_seen_again_is_not_computed_again(
    llava: tuple[Any, Projector], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, projector = llava
    [first] = read(projector, [picture(5), "x"]).images.values()
    [again] = read(projector, ["y", picture(5), "x"]).images.values()
    assert again.vectors is first.vectors
    monkeypatch.setattr(kept, "KEPT_BYTES", first.vectors.nbytes)
    read(projector, [picture(6), "x"])
    [later] = read(projector, [picture(5), "x"]).images.values()
    assert later.vectors is not first.vectors and (later.vectors == first.vectors).all()


def test_pictures_that_wait_have_a_limit(
    llava: tuple[Any, Projector], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, projector = llava
    monkeypatch.setattr(kept, "KEPT_BYTES", 0)
    held = read(projector, [picture(7), "x"])
    [span] = held.images.values()
    monkeypatch.setattr(kept, "HELD_BYTES", 2 * span.vectors.nbytes - 1)
    with pytest.raises(Overloaded):
        read(projector, [picture(8), "x"])
    del held, span
    assert read(projector, [picture(8), "x"]).images


def test_what_was_read_is_freed(
    llava: tuple[Any, Projector], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, projector = llava
    monkeypatch.setattr(kept, "KEPT_BYTES", 0)
    process = psutil.Process()

    def look(seeds: range) -> None:
        for seed in seeds:
            read(projector, ["x", picture(seed, 200, 200), "y"])

    look(range(20))
    before = process.memory_info().rss
    look(range(20, 320))
    assert process.memory_info().rss - before < 10 * 2**20  # the pictures alone have 36 MB


def test_a_picture_that_must_be_seen_at_once_needs_the_room(tmp_path: Path) -> None:
    loading.start()
    with eyes(tmp_path, "gemma3") as (model, projector), context_of(model) as context:
        [span] = read(projector, [picture(1), "x"]).images.values()
        assert span.at_once and span.cells == random.IMAGE_TOKENS["gemma3"]
        assert pictures.decode(context, 0, span, span.cells - 1) == pictures.REFUSED
        assert pictures.decode(context, 0, span, span.cells) == 0
        narrow = Projector(
            tmp_path / "mmproj-gemma3.gguf", model, threads=1, device="cpu", batch_tokens=15
        )
        with pytest.raises(BadRequest, match="16 tokens") as refused:
            read(narrow, [picture(1), "x"])
        assert "--batch-tokens 16" in refused.value.hint
        narrow.close()
        narrow.close()


def test_a_picture_for_which_there_is_no_room_leaves_nothing_behind(
    llava: tuple[Any, Projector],
) -> None:
    model, projector = llava
    [(start, span)] = read(projector, [picture(1), "x"]).images.items()
    params = c.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = 256, ROOM, ROOM
    context = c.llama_init_from_model(model, params)
    memory = c.llama_get_memory(context)
    batch = Batch(ROOM)
    for at in range(0, 220, 20):
        batch.fill([Chunk(0, at, [65] * 20)])
        assert c.llama_decode(context, batch.c) == 0
    span.positions[:] += 220 - start
    assert pictures.decode(context, 0, span, 16) == 1
    assert c.llama_memory_seq_pos_max(memory, 0) == 219
    c.llama_free(context)


def test_a_projector_of_another_width_is_refused(tmp_path: Path) -> None:
    loading.start()
    files = random.pair(tmp_path)
    wide = random.projector(tmp_path / "wide.gguf", width=2 * random.WIDTH)
    model = loading.load(files.model, "cpu", 0, lambda _: None)
    try:
        with pytest.raises(BadModelFile, match="mismatch"):
            Projector(wide, model, threads=1, device="cpu", batch_tokens=ROOM)
        with pytest.raises(BadModelFile, match="projector"):
            Projector(files.model, model, threads=1, device="cpu", batch_tokens=ROOM)
    finally:
        c.llama_model_free(model)
