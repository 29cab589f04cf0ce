"""Tiny models with random weights whose memories differ: attention, a window, states, experts.

Written through the `gguf` package. What they say means nothing; that it does not depend on the
slot, the neighbours or what was computed before is no matter of weights. A large last norm makes
the logits differ enough for greedy answers to be decided.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType
from numpy.typing import NDArray

WIDTH = 64
LAYERS = 4
HEADS, KV_HEADS = 4, 2
FORWARD = 96
TOKENS = 300
CONTEXT = 512
WINDOW = 16
EXPERTS, EXPERTS_USED = 4, 2
CONVOLVED, STATE, RANK = 4, 16, 4
"""Of a recurrent layer: how many tokens it convolves, its state's depth, its time step's rank."""
INNER = 2 * WIDTH
LOUD = 6.0
"""The last norm's weight: the logits' spread."""
KV_WIDTH = WIDTH // HEADS * KV_HEADS


class _File:
    """The file being written, and the numbers drawn for it."""

    def __init__(self, path: Path, architecture: str) -> None:
        self.writer = GGUFWriter(path, architecture)
        self._draw = np.random.default_rng(5)

    def matrix(self, name: str, *shape: int, scale: float = 1.0) -> None:
        """Of variance `scale`² / columns; the first sizes are whole matrices, as for experts."""
        drawn = self._draw.standard_normal(shape) * scale * shape[-1] ** -0.5
        self.tensor(name, drawn)

    def norm(self, name: str, width: int = WIDTH, weight: float = 1.0) -> None:
        self.tensor(name, np.full(width, weight))

    def tensor(self, name: str, values: NDArray[np.float64], suffix: str = ".weight") -> None:
        self.writer.add_tensor(f"{name}{suffix}", values.astype(np.float32))


def llama(file: _File) -> None:
    _attention_keys(file)
    for block in _blocks():
        _attention(file, block)
        _forward(file, block)


def experts(file: _File) -> None:
    """A llama whose every token is computed by two of four feed-forward parts."""
    _attention_keys(file)
    file.writer.add_expert_count(EXPERTS)
    file.writer.add_expert_used_count(EXPERTS_USED)
    for block in _blocks():
        _attention(file, block)
        file.norm(f"{block}.ffn_norm")
        file.matrix(f"{block}.ffn_gate_inp", EXPERTS, WIDTH, scale=20)  # no close calls
        for name in ("gate", "up"):
            file.matrix(f"{block}.ffn_{name}_exps", EXPERTS, FORWARD, WIDTH)
        file.matrix(f"{block}.ffn_down_exps", EXPERTS, WIDTH, FORWARD)


def gemma2(file: _File) -> None:
    """Every other layer sees the last `WINDOW` tokens only."""
    _attention_keys(file)
    file.writer.add_key_length(WIDTH // HEADS)
    file.writer.add_value_length(WIDTH // HEADS)
    file.writer.add_sliding_window(WINDOW)
    for block in _blocks():
        _attention(file, block)
        _forward(file, block)
        file.norm(f"{block}.post_attention_norm", weight=3)
        file.norm(f"{block}.post_ffw_norm", weight=3)


def mamba(file: _File) -> None:
    """No attention at all: a state of a fixed size for each slot."""
    writer = file.writer
    writer.add_head_count(0)
    writer.add_ssm_conv_kernel(CONVOLVED)
    writer.add_ssm_inner_size(INNER)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_time_step_rank(RANK)
    for block in _blocks():
        file.norm(f"{block}.attn_norm")
        file.matrix(f"{block}.ssm_in", 2 * INNER, WIDTH, scale=2)
        file.matrix(f"{block}.ssm_conv1d", INNER, CONVOLVED)
        file.tensor(f"{block}.ssm_conv1d", np.zeros(INNER), ".bias")
        file.matrix(f"{block}.ssm_x", RANK + 2 * STATE, INNER, scale=2)
        file.matrix(f"{block}.ssm_dt", INNER, RANK)
        file.tensor(f"{block}.ssm_dt", np.zeros(INNER), ".bias")
        file.tensor(f"{block}.ssm_a", -np.tile(np.arange(1.0, STATE + 1) / 8, (INNER, 1)), "")
        file.tensor(f"{block}.ssm_d", np.ones(INNER), "")
        file.matrix(f"{block}.ssm_out", WIDTH, INNER)


def lfm2(file: _File) -> None:
    """Short convolutions, whose state cannot be taken back, between layers of attention."""
    _attention_keys(file, [KV_HEADS if number % 2 else 0 for number in range(LAYERS)])
    file.writer.add_shortconv_l_cache(3)
    for number, block in enumerate(_blocks()):
        if number % 2:
            _attention(file, block)
            file.norm(f"{block}.attn_q_norm", WIDTH // HEADS)
            file.norm(f"{block}.attn_k_norm", WIDTH // HEADS)
        else:
            file.norm(f"{block}.attn_norm")
            file.matrix(f"{block}.shortconv.conv", WIDTH, 3)
            file.matrix(f"{block}.shortconv.in_proj", 3 * WIDTH, WIDTH, scale=2)
            file.matrix(f"{block}.shortconv.out_proj", WIDTH, WIDTH)
        _forward(file, block)


KINDS: Mapping[str, Callable[[_File], None]] = {
    "llama": llama,
    "experts": experts,
    "gemma2": gemma2,
    "mamba": mamba,
    "lfm2": lfm2,
}
STATEFUL = ("mamba", "lfm2")
"""Those whose memory cannot be cut."""
_ARCHITECTURE = {"experts": "llama"}
_LAST_NORM = {"lfm2": "token_embd_norm"}


def write(path: Path, kind: str) -> Path:
    file = _File(path, _ARCHITECTURE.get(kind, kind))
    _describe(file.writer)
    file.matrix("token_embd", TOKENS, WIDTH)
    file.norm(_LAST_NORM.get(kind, "output_norm"), weight=LOUD)
    KINDS[kind](file)
    file.writer.write_header_to_file()
    file.writer.write_kv_data_to_file()
    file.writer.write_tensors_to_file()
    file.writer.close()
    return path


def _describe(writer: GGUFWriter) -> None:
    writer.add_name("random")
    writer.add_file_type(0)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FORWARD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(TOKENS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    tokens = ["<|end|>", "Ċ", "a", "b", "ab"]
    tokens += [f"t{number}" for number in range(len(tokens), TOKENS)]
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL] + [TokenType.NORMAL] * (TOKENS - 1))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)


def _attention_keys(file: _File, kv_heads: int | list[int] = KV_HEADS) -> None:
    file.writer.add_head_count(HEADS)
    file.writer.add_head_count_kv(kv_heads)
    file.writer.add_rope_dimension_count(WIDTH // HEADS)
    file.writer.add_rope_freq_base(10_000.0)


def _attention(file: _File, block: str) -> None:
    file.norm(f"{block}.attn_norm")
    file.matrix(f"{block}.attn_q", WIDTH, WIDTH, scale=2)
    file.matrix(f"{block}.attn_k", KV_WIDTH, WIDTH)
    file.matrix(f"{block}.attn_v", KV_WIDTH, WIDTH, scale=2)
    file.matrix(f"{block}.attn_output", WIDTH, WIDTH, scale=2)


def _forward(file: _File, block: str) -> None:
    file.norm(f"{block}.ffn_norm")
    file.matrix(f"{block}.ffn_gate", FORWARD, WIDTH, scale=2)
    file.matrix(f"{block}.ffn_up", FORWARD, WIDTH)
    file.matrix(f"{block}.ffn_down", WIDTH, FORWARD)


def _blocks() -> list[str]:
    return [f"blk.{number}" for number in range(LAYERS)]
