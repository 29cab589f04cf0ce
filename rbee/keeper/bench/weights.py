"""A model with random weights in a given shape: as slow as a real one, and nothing to download.

Written through the `gguf` package, one tensor at a time. The quantised blocks themselves are drawn,
not numbers to be quantised, which would take ten times as long: integers that fill their range, and
a scale that gives a matrix product the size of its input, so that nothing overflows. Its text is
noise, but of whole words and without end: for every other token its logit is 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType
from numpy.typing import NDArray

END = 0
FIRST_WORD = 258
"""Ids below are the end, single bytes, which may wait for the rest of a character, and a merge."""
BLOCK = 32
"""Weights that share a scale, in both quantisations."""
Quantisation = Literal["Q8_0", "Q4_0"]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Shape:
    """A Llama with tied embeddings."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    feed_forward: int
    vocabulary: int
    quantisation: Quantisation = "Q8_0"
    context: int = 4_096

    def __str__(self) -> str:
        return f"{self.parameters / 1e6:.0f} M {self.quantisation}"

    @property
    def kv_width(self) -> int:
        return self.width * self.kv_heads // self.heads

    @property
    def parameters(self) -> int:
        """Of all matrices; the norms' vectors are left out."""
        return sum(rows * columns for _, (rows, columns) in self.matrices())

    def matrices(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Every matrix by its name in the file: (rows, columns)."""
        square, kv = (self.width, self.width), (self.kv_width, self.width)
        yield "token_embd", (self.vocabulary, self.width)
        for layer in range(self.layers):
            block = f"blk.{layer}."
            yield f"{block}attn_q", square
            yield f"{block}attn_k", kv
            yield f"{block}attn_v", kv
            yield f"{block}attn_output", square
            yield f"{block}ffn_gate", (self.feed_forward, self.width)
            yield f"{block}ffn_up", (self.feed_forward, self.width)
            yield f"{block}ffn_down", (self.width, self.feed_forward)

    def norms(self) -> Iterator[str]:
        yield "output_norm"
        for layer in range(self.layers):
            yield f"blk.{layer}.attn_norm"
            yield f"blk.{layer}.ffn_norm"


BATCH = Shape(30, 576, 9, 3, 1_536, 49_152)
"""What `rbee bench batch` has always measured: 134 M parameters."""
SMALL = Shape(30, 576, 9, 3, 1_536, 150_000)
"""The same layers under a large vocabulary, where sampling costs the most beside the decoding."""
LARGE = Shape(16, 2_048, 32, 8, 8_192, 128_000, "Q4_0")
"""1.2 billion parameters."""
TINY = Shape(2, 64, 4, 2, 128, 512)
"""To see a benchmark run, in seconds; its numbers mean nothing."""


def write(path: Path, shape: Shape, seed: int = 0) -> None:
    """Write the model; holds its largest matrix in memory, nothing more."""
    writer = GGUFWriter(str(path), "llama")
    _describe(writer, shape)
    kind = GGMLQuantizationType[shape.quantisation]
    ones = np.ones(shape.width, np.float32)
    for name in shape.norms():
        writer.add_tensor_info(f"{name}.weight", ones.shape, ones.dtype, ones.nbytes)
    for name, (rows, columns) in shape.matrices():
        size = (rows, columns // BLOCK * _block_bytes(shape.quantisation))
        dtype = np.dtype(np.uint8)
        writer.add_tensor_info(f"{name}.weight", size, dtype, math.prod(size), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _ in shape.norms():
        writer.write_tensor_data(ones)
    draw = np.random.default_rng(seed)
    for name, (rows, columns) in shape.matrices():
        matrix = _matrix(rows, columns, shape.quantisation, draw)
        if name == "token_embd":
            matrix[:FIRST_WORD] = 0
        writer.write_tensor_data(matrix)
    writer.close()


def _describe(writer: GGUFWriter, shape: Shape) -> None:
    writer.add_name("random")
    writer.add_file_type(LlamaFileType[f"MOSTLY_{shape.quantisation}"])
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    tokens = ["<|end|>", *_byte_letters(), "he"]
    tokens += [f"w{number}" for number in range(shape.vocabulary - len(tokens))]
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL] + [TokenType.NORMAL] * (len(tokens) - 1))
    writer.add_token_merges(["h e"])  # llama.cpp insists on one
    writer.add_bos_token_id(END)
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(False)


def _byte_letters() -> list[str]:
    """How byte-level BPE writes the 256 bytes: printable ones as themselves, others past U+0100."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [byte for byte in range(256) if byte not in kept]
    return [chr(b) for b in kept] + [chr(256 + number) for number in range(len(other))]


def _block_bytes(quantisation: Quantisation) -> int:
    """A scale of two bytes, and 32 weights of eight or four bits."""
    return 2 + (BLOCK if quantisation == "Q8_0" else BLOCK // 2)


def _matrix(
    rows: int, columns: int, quantisation: Quantisation, draw: np.random.Generator
) -> Bytes:
    """Rows of blocks as they stand in the file; weights of variance 1 / columns."""
    blocks = rows * columns // BLOCK
    made: Bytes = np.empty((blocks, _block_bytes(quantisation)), np.uint8)
    if quantisation == "Q8_0":
        made[:, 2:] = draw.integers(-127, 128, (blocks, BLOCK), np.int8).view(np.uint8)
        scales = np.full(blocks, _scale(columns, 255))
    else:
        made[:, 2:] = draw.integers(0, 256, (blocks, BLOCK // 2), np.uint8)
        # Four bits mean -8 to 7: the mean is not 0 unless half of the scales are negative.
        scales = draw.choice([-1.0, 1.0], blocks) * _scale(columns, 16)
    made[:, :2] = scales.astype("<f2").view(np.uint8).reshape(blocks, 2)
    return made.reshape(rows, -1)


def _scale(columns: int, steps: int) -> float:
    """What makes evenly drawn integers of so many values have the variance 1 / columns."""
    return math.sqrt(12 / (steps**2 - 1) / columns)
