"""A model with random weights in a given shape: as slow as a real one, and nothing to download.

Written through the `gguf` package. Its text is noise; its end token never ends anything here, since
the benchmark forbids it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import quantize

END = 0


@dataclass(frozen=True)
class Shape:
    """A Llama. Tied embeddings, Q8_0."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    feed_forward: int
    vocabulary: int
    context: int = 4_096

    @property
    def parameters(self) -> int:
        kv = self.width * self.kv_heads // self.heads
        block = 2 * self.width * (self.width + kv) + 3 * self.width * self.feed_forward
        return self.layers * block + self.vocabulary * self.width


SMALL = Shape(30, 576, 9, 3, 1_536, 49_152)
"""135 M parameters."""


def write(path: Path, shape: Shape, seed: int = 0) -> None:
    """Write the model; takes about as long as drawing that many random numbers."""
    writer = GGUFWriter(str(path), "llama")
    _describe(writer, shape)
    draw = np.random.default_rng(seed)
    kv = shape.width * shape.kv_heads // shape.heads
    square, wide = (shape.width, shape.width), (shape.feed_forward, shape.width)
    matrices = {
        "attn_q": square,
        "attn_k": (kv, shape.width),
        "attn_v": (kv, shape.width),
        "attn_output": square,
        "ffn_gate": wide,
        "ffn_up": wide,
        "ffn_down": (shape.width, shape.feed_forward),
    }
    _matrix(writer, "token_embd", (shape.vocabulary, shape.width), draw)
    _ones(writer, "output_norm", shape.width)
    for layer in range(shape.layers):
        for norm in ("attn_norm", "ffn_norm"):
            _ones(writer, f"blk.{layer}.{norm}", shape.width)
        for name, size in matrices.items():
            _matrix(writer, f"blk.{layer}.{name}", size, draw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: GGUFWriter, shape: Shape) -> None:
    writer.add_name("random")
    writer.add_file_type(7)
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


def _matrix(
    writer: GGUFWriter, name: str, size: tuple[int, int], draw: np.random.Generator
) -> None:
    values = draw.standard_normal(size, np.float32) * np.float32(size[1] ** -0.5)
    kind = GGMLQuantizationType.Q8_0
    writer.add_tensor(f"{name}.weight", quantize(values, kind), raw_dtype=kind)


def _ones(writer: GGUFWriter, name: str, size: int) -> None:
    writer.add_tensor(f"{name}.weight", np.ones(size, np.float32))
