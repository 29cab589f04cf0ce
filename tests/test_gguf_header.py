"""Any bytes give a header or a `BadModelFile`, soon; real headers are read as they are."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import gguf
import pytest
from gguf.constants import GGML_QUANT_SIZES, LlamaFileType
from hypothesis import given, settings
from hypothesis import strategies as st

from rbee import bee, gguf_header
from rbee.errors import BadModelFile
from rbee.gguf_tables import FILE_TYPES, TENSOR_SIZES

BEE = bee.path().read_bytes()


def written(path: Path, words: int = 10) -> Path:
    """A GGUF file made by the `gguf` package."""
    import numpy as np

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("made up")
    writer.add_context_length(2_048)
    writer.add_file_type(15)
    writer.add_tokenizer_model("gpt2")
    writer.add_chat_template("{{ messages }}")
    writer.add_token_list([f"word{n}" for n in range(words)])
    writer.add_token_merges([f"a{n} b{n}" for n in range(words)])
    writer.add_tensor("weights", np.zeros((8, 64), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_reads_what_the_gguf_package_writes(tmp_path: Path) -> None:
    header = gguf_header.read(written(tmp_path / "a.gguf"))
    assert header.architecture == "llama"
    assert header.name == "made up"
    assert header.context == 2_048
    assert header.quantisation == "Q4_K_M"
    assert header.parameters == 512
    assert header.chat_template
    assert header.tokenizer == "gpt2"


def test_reads_the_embedded_model() -> None:
    header = gguf_header.read(bee.path())
    assert header.kind == "model"
    assert header.context > 0
    assert header.parameters > 100_000


def test_a_large_vocabulary_is_walked_quickly(tmp_path: Path) -> None:
    path = written(tmp_path / "large.gguf", words=150_000)
    began = time.perf_counter()
    gguf_header.read(path)
    assert time.perf_counter() - began < 1.0  # measured: 0.04 s


def test_a_head_longer_than_the_first_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "large.gguf", words=2_000)
    monkeypatch.setattr(gguf_header, "HEAD_BYTES", (64, 4_096, 2**20))
    assert gguf_header.read(path).context == 2_048


@pytest.mark.parametrize("keep", [0, 3, 4, 20, 24, 100, 5_000, len(BEE) // 2, len(BEE) - 1])
def test_every_cut_of_the_embedded_model_is_found(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(BEE[:keep])
    with pytest.raises(BadModelFile):
        gguf_header.read(path)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"PK\x03\x04" + bytes(100), "begins with"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version is 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "version is"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "declares"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**62), "text of"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"kI", "truncated"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "no architecture"),
        (
            b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 8, 2**61),
            "texts",
        ),
        (
            b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 4, 2**61),
            "truncated",
        ),
    ],
)
def test_lies_are_named(data: bytes, why: str) -> None:
    with pytest.raises(BadModelFile, match=why):
        gguf_header.parse(data)


def test_a_folder_or_nothing_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.gguf"):
        with pytest.raises(BadModelFile, match="cannot be read"):
            gguf_header.read(path)


def soundly(data: bytes) -> None:
    try:
        header = gguf_header.parse(data)
    except BadModelFile as exc:
        assert exc.message.endswith(".")
    else:
        assert header.architecture
        assert header.context >= 0


@given(st.binary(max_size=600))
def test_any_bytes(data: bytes) -> None:
    soundly(data)
    soundly(b"GGUF" + struct.pack("<I", 3) + data)
    soundly(b"GGUF" + struct.pack("<IQQ", 3, 1, 2) + data)


HEAD = BEE[:4_096]


@settings(max_examples=300)
@given(st.integers(0, len(HEAD) - 1), st.binary(min_size=1, max_size=16))
def test_a_damaged_head(at: int, junk: bytes) -> None:
    data = HEAD[:at] + junk + HEAD[at + len(junk) :]
    began = time.perf_counter()
    soundly(data)
    assert time.perf_counter() - began < 5.0


def test_the_tables_are_those_of_the_gguf_package() -> None:
    theirs = {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()}
    for kind in TENSOR_SIZES.keys() & theirs.keys():
        assert TENSOR_SIZES[kind] == theirs[kind]
    names = {int(kind): kind.name.partition("_")[2] for kind in LlamaFileType}
    for number in FILE_TYPES.keys() & names.keys():
        assert FILE_TYPES[number] == names[number]
