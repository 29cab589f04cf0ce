"""Tiny models with random weights of kinds that the embedded one is not: encoders and rankers.

Written through the `gguf` package. What they say means nothing; that a vector of one input is the
same alone and in company, and that their tokenizer frames a text, does not depend on the weights.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFWriter, PoolingType, TokenType
from numpy.typing import NDArray

WIDTH = 32
LAYERS = 2
CONTEXT = 96
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
PAD, UNK, CLS, SEP = range(4)
WORDS = ["the", "queen", "bee", "hive", "honey", "makes", "lives", "in", "a", "s", "."]
TOKENS = [*SPECIAL, *(f"▁{word}" for word in WORDS), "ing", "er"]
"""As llama.cpp stores WordPiece: what begins a word is marked, what goes on in one is not."""


def encoder(
    path: Path,
    pooling: PoolingType | None = PoolingType.MEAN,
    *,
    ranks: bool = False,
    template: str = "",
) -> Path:
    """A BERT; with `ranks` it has a classifier of one score."""
    writer = GGUFWriter(path, "bert")
    _describe(writer, PoolingType.RANK if ranks else pooling)
    _tokenizer(writer)
    if template:
        writer.add_chat_template([{"name": "rerank", "template": template}])
    draw = np.random.default_rng(7)
    _embeddings(writer, draw)
    for layer in range(LAYERS):
        _block(writer, f"blk.{layer}", draw)
    if ranks:
        _linear(writer, "cls", WIDTH, WIDTH, draw)
        _linear(writer, "cls.output", 1, WIDTH, draw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _describe(writer: GGUFWriter, pooling: PoolingType | None) -> None:
    writer.add_name("random encoder")
    writer.add_file_type(0)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(2 * WIDTH)
    writer.add_head_count(2)
    writer.add_layer_norm_eps(1e-6)
    writer.add_causal_attention(False)
    if pooling is not None:
        writer.add_pooling_type(pooling)


def _tokenizer(writer: GGUFWriter) -> None:
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(TOKENS)
    kinds = [TokenType.CONTROL] * len(SPECIAL)
    kinds[UNK] = TokenType.UNKNOWN
    writer.add_token_types(kinds + [TokenType.NORMAL] * (len(TOKENS) - len(SPECIAL)))
    writer.add_token_type_count(2)
    writer.add_bos_token_id(CLS)
    writer.add_eos_token_id(SEP)
    writer.add_sep_token_id(SEP)
    writer.add_unk_token_id(UNK)
    writer.add_pad_token_id(PAD)


def _embeddings(writer: GGUFWriter, draw: np.random.Generator) -> None:
    sizes = {"token_embd": len(TOKENS), "token_types": 2, "position_embd": CONTEXT}
    for name, rows in sizes.items():
        _tensor(writer, f"{name}.weight", draw.standard_normal((rows, WIDTH)))
    _norm(writer, "token_embd_norm")


def _block(writer: GGUFWriter, name: str, draw: np.random.Generator) -> None:
    for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
        _linear(writer, f"{name}.{part}", WIDTH, WIDTH, draw)
    _linear(writer, f"{name}.ffn_up", 2 * WIDTH, WIDTH, draw)
    _linear(writer, f"{name}.ffn_down", WIDTH, 2 * WIDTH, draw)
    _norm(writer, f"{name}.attn_output_norm")
    _norm(writer, f"{name}.layer_output_norm")


def _linear(
    writer: GGUFWriter, name: str, rows: int, columns: int, draw: np.random.Generator
) -> None:
    _tensor(writer, f"{name}.weight", draw.standard_normal((rows, columns)) * columns**-0.5)
    _tensor(writer, f"{name}.bias", draw.standard_normal(rows) * 0.1)


def _norm(writer: GGUFWriter, name: str) -> None:
    _tensor(writer, f"{name}.weight", np.ones(WIDTH))
    _tensor(writer, f"{name}.bias", np.zeros(WIDTH))


def _tensor(writer: GGUFWriter, name: str, values: NDArray[np.float64]) -> None:
    writer.add_tensor(name, values.astype(np.float32))
