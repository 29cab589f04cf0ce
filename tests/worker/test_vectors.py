"""Vectors and scores as llama.cpp makes them: alone and in company, in pieces, past every limit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf import PoolingType

from rbee import bee
from rbee.worker.engine.backend import Row
from rbee.worker.engine.llama import loading
from rbee.worker.engine.llama.backend import LlamaBackend
from rbee.worker.engine.llama.vectors import GROUP_TOKENS, Vectors, pieces
from tests.worker.random_models import CLS, CONTEXT, SEP, TOKENS, UNK, encoder
from tests.worker.test_describe import copied

TOLERANCE = 5e-3
"""Kernels differ with the width of a batch; the vectors' numbers are about 1."""


@contextmanager
def loaded(path: Path, context: int = 512) -> Iterator[LlamaBackend]:
    loading.start()
    backend = LlamaBackend(
        path,
        slots=1,
        context=context,
        batch_tokens=64,
        threads=1,
        device="cpu",
        gpu_layers=0,
        on_progress=lambda part: None,
    )
    try:
        yield backend
    finally:
        backend.close()
        backend.close()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    kinds = {"mean": PoolingType.MEAN, "cls": PoolingType.CLS, "undeclared": None}
    made = {name: encoder(folder / f"{name}.gguf", kind) for name, kind in kinds.items()}
    made["ranker"] = encoder(folder / "ranker.gguf", ranks=True)
    template = "{document} [SEP] {query}"
    made["told"] = encoder(folder / "told.gguf", ranks=True, template=template)
    return made | {"bee": bee.path()}


def inputs(size: int, lengths: list[int], seed: int = 1) -> list[list[int]]:
    draw = np.random.default_rng(seed)
    return [draw.integers(4, min(size, 250), length).tolist() for length in lengths]


def apart(some: list[Row], others: list[Row]) -> float:
    """The largest difference of any number."""
    assert [row.shape for row in some] == [row.shape for row in others]
    return max(float(np.abs(a - b).max()) for a, b in zip(some, others, strict=True))


@pytest.mark.parametrize("name", ["mean", "cls", "undeclared", "ranker", "bee"])
def test_a_vector_does_not_depend_on_its_company(models: dict[str, Path], name: str) -> None:
    with loaded(models[name]) as backend:
        asked = inputs(backend.vocabulary.size, [3, 1, 20, 7, 40, 9, 2, 30, *[5] * 30])
        together = backend.embed(asked)
        alone = [backend.embed([one])[0] for one in asked]
        assert apart(together, alone) < TOLERANCE
        assert apart(together, backend.embed(asked)) == 0.0
        assert apart(alone[:1], alone[1:2]) > 10 * TOLERANCE


def test_pooling_is_what_the_model_declares(models: dict[str, Path]) -> None:
    found = {}
    for name in ("mean", "cls", "undeclared"):
        with loaded(models[name]) as backend:
            found[name] = backend.embed([[CLS, 5, 6, 7, SEP]])
    assert apart(found["mean"], found["undeclared"]) == 0.0
    assert apart(found["mean"], found["cls"]) > TOLERANCE


def test_a_long_input_is_one_mean_however_it_is_cut(models: dict[str, Path]) -> None:
    """In pieces, with others before and after it, and again after the context had to grow."""
    with loaded(models["bee"], context=2_048) as backend:
        short, long = inputs(backend.vocabulary.size, [10, GROUP_TOKENS + 300])
        before = backend.embed([short])
        alone = backend.embed([long])
        assert apart(backend.embed([short, long, short]), before + alone + before) < TOLERANCE


def test_the_room_follows_what_is_asked(models: dict[str, Path]) -> None:
    with loaded(models["bee"], context=4_096) as backend:
        [short] = inputs(backend.vocabulary.size, [10])
        first = backend.embed([short])
        for length, room in ((600, 1_024), (10, 1_024), (3_000, 4_096), (10, 512)):
            backend.embed(inputs(backend.vocabulary.size, [length]))
            assert f"room for {room} tokens" in repr(backend.vectors)
        assert apart(backend.embed([short]), first) == 0.0


@pytest.mark.parametrize("pooling", [PoolingType.MEAN, PoolingType.LAST])
def test_what_is_pooled_here_is_what_llama_cpp_pools(tmp_path: Path, pooling: PoolingType) -> None:
    declared = {} if pooling == PoolingType.MEAN else {"llama.pooling_type": int(pooling)}
    with loaded(copied(tmp_path / "pooled.gguf", declared)) as backend:
        asked = inputs(backend.vocabulary.size, [30, 1, 400])
        here = backend.embed(asked)
        assert backend.nature.in_pieces and backend.nature.pooling == pooling
        whole = Vectors(
            backend._model,
            replace(backend.nature, in_pieces=False),
            vocabulary=backend.vocabulary.size,
            threads=1,
            offload=False,
        )
        try:
            assert apart(here, whole.embed(asked)) < TOLERANCE
        finally:
            whole.close()


@pytest.mark.parametrize("pooling", [int(PoolingType.RANK), 77])
def test_a_header_that_promises_what_is_not_there_is_not_believed(
    tmp_path: Path, pooling: int
) -> None:
    extra = {"llama.pooling_type": pooling}
    with loaded(copied(tmp_path / "odd.gguf", extra)) as backend:
        assert backend.nature.embeds and backend.nature.generates and not backend.nature.ranks
        assert backend.embed([[5, 6]])


def test_pieces_keep_every_token_once_and_in_order() -> None:
    asked = [[1, 2, 3], [4], [5, 6, 7, 8, 9]]
    cut = list(pieces(asked, 4))
    assert [sum(len(chunk.tokens) for chunk in piece) for piece in cut] == [4, 4, 1]
    chunks = [chunk for piece in cut for chunk in piece]
    for slot, tokens in enumerate(asked):
        own = [chunk for chunk in chunks if chunk.slot == slot]
        assert [t for chunk in own for t in chunk.tokens] == tokens
        assert own[0].start == 0 and all(chunk.outputs == len(chunk.tokens) for chunk in own)


def test_an_encoder_knows_its_limits(models: dict[str, Path]) -> None:
    """Past the positions that it was trained for llama.cpp would read past a table."""
    with loaded(models["mean"], context=4_096) as backend:
        assert backend.context == CONTEXT and not backend.nature.generates
        [row] = backend.embed([[5] * CONTEXT])
        assert np.isfinite(row).all()


def test_natures(models: dict[str, Path]) -> None:
    def told(name: str) -> tuple[bool, bool, bool]:
        with loaded(models[name]) as backend:
            nature = backend.nature
            return nature.generates, nature.embeds, nature.ranks

    assert told("bee") == (True, True, False)
    assert told("mean") == told("undeclared") == (False, True, False)
    assert told("ranker") == (False, False, True)


def test_texts_are_framed_as_the_encoder_was_trained(models: dict[str, Path]) -> None:
    with loaded(models["mean"]) as backend:
        found = backend.vocabulary.tokenize("The queen sings.", add_special=True)
        words = [TOKENS.index(word) for word in ("▁the", "▁queen")]
        assert found == [CLS, *words, UNK, TOKENS.index("▁."), SEP]


def test_a_pair_is_framed_and_nobody_can_end_the_query_early(models: dict[str, Path]) -> None:
    queen, hive = TOKENS.index("▁queen"), TOKENS.index("▁hive")
    with loaded(models["ranker"]) as backend:
        pairs = list(backend.pairs("queen", ["hive", "", "[SEP]"]))
    assert pairs[0] == [CLS, queen, SEP, hive, SEP]
    assert pairs[1] == [CLS, queen, SEP, SEP]
    assert pairs[2].count(SEP) == 2


def test_a_model_may_bring_its_own_template_for_pairs(models: dict[str, Path]) -> None:
    queen, hive = TOKENS.index("▁queen"), TOKENS.index("▁hive")
    with loaded(models["told"]) as backend:
        assert list(backend.pairs("queen", ["hive"])) == [[hive, SEP, queen]]
        braces = next(iter(backend.pairs("{document}", ["hive"])))
        assert braces.count(hive) == 1
