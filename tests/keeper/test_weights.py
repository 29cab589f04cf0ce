"""Models with random weights: llama.cpp takes them, and they compute something sane."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, dequantize

from rbee.keeper.bench import weights
from rbee.worker.engine.backend import Chunk
from rbee.worker.engine.llama import loading
from rbee.worker.engine.llama.backend import LlamaBackend


@pytest.fixture(params=["Q8_0", "Q4_0"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    made = tmp_path / "tiny.gguf"
    weights.write(made, replace(weights.TINY, quantisation=request.param))
    return made


@pytest.fixture
def backend(file: Path) -> Iterator[LlamaBackend]:
    loading.start()
    made = LlamaBackend(
        file,
        slots=2,
        context=256,
        batch_tokens=64,
        threads=1,
        device="cpu",
        gpu_layers=0,
        on_progress=lambda part: None,
    )
    yield made
    made.close()


def test_it_decodes(backend: LlamaBackend) -> None:
    assert backend.vocabulary.size == weights.TINY.vocabulary
    backend.decode([Chunk(0, 0, range(300, 332), 1), Chunk(1, 0, range(400, 416), 1)])
    rows = np.array(backend.rows())
    assert rows.shape == (2, weights.TINY.vocabulary)
    assert np.isfinite(rows).all()
    assert 0.05 < rows[:, weights.FIRST_WORD :].std() < 20, "neither flat nor wild"
    assert not np.allclose(rows[0], rows[1]), "it does not depend on the prompt"


def test_it_says_whole_words_and_never_ends(backend: LlamaBackend) -> None:
    token, said = 300, []
    for position in range(64):
        backend.decode([Chunk(0, position, [token], 1)])
        token = int(np.argmax(backend.rows()[0]))
        said.append(token)
    assert min(said) >= weights.FIRST_WORD


def test_the_weights_have_the_variance_that_they_should(file: Path) -> None:
    for tensor in GGUFReader(file).tensors:
        if len(tensor.shape) == 2 and tensor.name != "token_embd.weight":
            values = dequantize(tensor.data, tensor.tensor_type)
            assert abs(values.mean()) < 0.1 * values.std()
            assert values.var() * tensor.shape[0] == pytest.approx(1, rel=0.1)


def test_the_same_seed_writes_the_same_file(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one.gguf", "two.gguf")]
    for file in files:
        weights.write(file, weights.TINY)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_shapes_have_the_size_that_is_said() -> None:
    sizes = {s: s.parameters / 1e6 for s in (weights.BATCH, weights.SMALL, weights.LARGE)}
    assert [round(size) for size in sizes.values()] == [134, 193, 1_235]
    for shape in sizes:
        assert all(columns % weights.BLOCK == 0 for _, (_, columns) in shape.matrices())
