"""LoRA adapters: loaded by name, chosen per request, and nobody else's words changed by them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import llama_cpp as c
import numpy as np
import pytest
from numpy.typing import NDArray

from rbee import bee
from rbee.errors import BadModelFile
from rbee.worker.engine.llama import loading
from rbee.worker.engine.llama.adapters import NONE, Adapters
from tests.http import ask
from tests.processes import Started
from tests.worker import random_lora
from tests.worker.bees import failing, infer, request, serving, status

PROMPT = [10, 20, 30, 40]
SAID = "I like bees, flowers and honey, and I wonder what you are. " * 4 + "Who are you?"
"""Long enough that what was computed of it is worth keeping."""


class Bare:
    """The embedded model with one context, and nothing else of the worker."""

    def __init__(self) -> None:
        loading.start()
        self.model = loading.load(bee.path(), "cpu", 0, lambda part: None)
        params = c.llama_context_default_params()
        params.n_ctx, params.n_threads, params.n_threads_batch = 256, 1, 1
        self.context = c.llama_init_from_model(self.model, params)

    def logits(self, adapters: Adapters, name: str) -> NDArray[np.float32]:
        """What comes after the prompt, from an empty cache."""
        adapters.use(self.context, name)
        c.llama_memory_clear(c.llama_get_memory(self.context), True)
        batch = c.llama_batch_get_one((c.llama_token * len(PROMPT))(*PROMPT), len(PROMPT))
        assert c.llama_decode(self.context, batch) == 0
        pointer = c.llama_get_logits_ith(self.context, -1)
        size = c.llama_vocab_n_tokens(c.llama_model_get_vocab(self.model))
        return np.ctypeslib.as_array(pointer, shape=(size,)).copy()

    def close(self) -> None:
        c.llama_free(self.context)
        c.llama_model_free(self.model)


@pytest.fixture(scope="module")
def bare() -> Iterator[Bare]:
    made = Bare()
    yield made
    made.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two adapters that change what `bee` says, and one that changes nothing."""
    folder = tmp_path_factory.mktemp("lora")
    return {
        "wild": random_lora.write(folder / "wild.gguf", bee.path(), seed=1),
        "odd": random_lora.write(folder / "odd.gguf", bee.path(), seed=2),
        "mute": random_lora.write(folder / "mute.gguf", bee.path(), strength=0.0),
    }


def test_exactly_the_named_adapter_is_at_work(bare: Bare, files: dict[str, Path]) -> None:
    adapters = Adapters(bare.model, files)
    assert adapters.names == ("wild", "odd", "mute")
    plain, wild, odd = (bare.logits(adapters, name) for name in (NONE, "wild", "odd"))
    assert not np.allclose(plain, wild) and not np.allclose(plain, odd)
    assert not np.allclose(wild, odd)
    for name, expected in (("odd", odd), (NONE, plain), ("wild", wild), ("mute", plain)):
        assert np.array_equal(bare.logits(adapters, name), expected), name
    assert "now mute" in repr(adapters)
    bare.logits(adapters, NONE)
    adapters.close()
    adapters.close()
    assert repr(adapters) == "<Adapters none; now none>"


def test_a_model_without_adapters_has_none(bare: Bare) -> None:
    adapters = Adapters(bare.model, {})
    assert adapters.names == ()
    bare.logits(adapters, NONE)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"architecture": "qwen2"}, "it is for 'qwen2' models, and this one is 'llama'"),
    ({"widen": 32}, "blk.0.attn_q.weight.*incorrect shape"),
    ({"invocation": [5, 6]}, "begin in the middle of a prompt"),
    ({"kind": "model"}, "it is no adapter .its general.type is 'model'"),
]


@pytest.mark.parametrize(("change", "said"), BAD)
def test_a_file_that_does_not_fit_says_why(
    bare: Bare, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    file = random_lora.write(tmp_path / "bad.gguf", bee.path(), **change)
    with pytest.raises(BadModelFile, match=said) as caught:
        Adapters(bare.model, {"style": file})
    assert caught.value.path == "$.lora.style"
    assert "'style' (bad.gguf)" in caught.value.message


def test_a_broken_file_is_refused_before_llama_cpp_sees_it(
    bare: Bare, files: dict[str, Path], tmp_path: Path
) -> None:
    whole = files["wild"].read_bytes()
    for data, said in ((whole[: len(whole) // 2], "truncated"), (b"PK\x03\x04", "begins with")):
        cut = tmp_path / "cut.gguf"
        cut.write_bytes(data)
        with pytest.raises(BadModelFile, match=said):
            Adapters(bare.model, {"style": cut})


@pytest.fixture(scope="module")
def styled(files: dict[str, Path]) -> Iterator[Started]:
    with serving(slots=4, lora=f"wild={files['wild']}") as process:
        yield process


def told(url: str, lora: str | None) -> tuple[str, int]:
    """What is answered, and how much of the prompt was known from before."""
    chosen = {} if lora is None else {"lora": lora}
    found = infer(url, SAID, max_tokens=12, temperature=0, **chosen)
    return found["choices"][0]["text"], found["usage"]["cached_tokens"]


def test_a_request_chooses_its_adapter(styled: Started) -> None:
    assert status(styled.url)["lora"] == ["wild"]
    (plain, _), (wild, known) = told(styled.url, None), told(styled.url, "wild")
    assert plain != wild
    assert known == 0, "what was computed without an adapter was taken for the adapter's"
    for _ in range(3):
        for lora, expected in (("wild", wild), (None, plain)):
            text, known = told(styled.url, lora)
            assert text == expected
            assert known > 0


def test_requests_with_and_without_run_side_by_side(styled: Started) -> None:
    alone = {lora: told(styled.url, lora)[0] for lora in (None, "wild")}
    asked = [None, "wild"] * 6
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda lora: told(styled.url, lora)[0], asked))
    assert answers == [alone[lora] for lora in asked]


def test_an_adapter_that_is_not_there_is_a_400_that_names_those_that_are(styled: Started) -> None:
    answer = ask("POST", f"{styled.url}/v1/infer", request(SAID, stream=False, lora="law"))
    error = answer.json()["error"]
    assert (answer.status, error["param"]) == (400, "lora")
    assert "wild" in error["message"]


def test_a_worker_that_cannot_have_its_adapter_says_so(tmp_path: Path) -> None:
    file = random_lora.write(tmp_path / "bad.gguf", bee.path(), widen=32)
    done = failing("--model", "bee", "--port", "0", "--lora", f"style={file}")
    assert done.returncode == 1
    assert '"code":"bad_model_file"' in done.stdout
    assert "incorrect shape" in done.stdout
    missing = failing("--model", "bee", "--port", "0", "--lora", f"style={tmp_path / 'none'}")
    assert missing.returncode == 2
    assert "there is no such file" in missing.stderr
