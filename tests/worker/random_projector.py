"""Tiny models that see, with random weights: a text model and the projector that fits it.

Written through the `gguf` package. What they say of a picture means nothing; that it depends on the
picture, and on nothing else, does not depend on the weights. Three kinds, for the three ways in
which a text model takes a picture: as if it were tokens (LLaVA), all at once (Gemma 3, whose image
tokens look ahead), and at positions of two dimensions (Qwen2-VL).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from numpy.typing import NDArray

Kind = Literal["llava", "gemma3", "qwen2vl"]
WIDTH, LAYERS, HEADS, FEED_FORWARD, CONTEXT = 32, 2, 2, 64, 1_024
EYE_WIDTH, PATCH, SIDE = 16, 4, 32
"""The projector's own width, and its pictures: 8 x 8 patches."""
UNKNOWN, BEGIN, END = range(3)
FRAMES = ["<start_of_image>", "<end_of_image>", "<|vision_start|>", "<|vision_end|>"]
"""What mtmd writes around a picture for Gemma 3 and for Qwen2-VL."""
IMAGE_TOKENS: dict[Kind, int] = {"llava": 64, "gemma3": 16, "qwen2vl": 16}
"""Tokens of a square picture of `SIDE` pixels."""
TEMPLATE = (
    "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
LISTS = (
    "{% for message in messages %}[{{ message.role }}] {% for part in message.content %}"
    "{{ part.text }}{% endfor %}{{ '\\n' }}{% endfor %}[assistant]"
)
"""A template that knows contents in parts alone, as those of some models that see."""


@dataclass(frozen=True)
class Pair:
    """A text model's file and its projector's."""

    model: Path
    projector: Path
    kind: Kind


def pair(folder: Path, kind: Kind = "llava", *, template: str = TEMPLATE) -> Pair:
    model = text_model(folder / f"{kind}.gguf", kind, template=template)
    return Pair(model, projector(folder / f"mmproj-{kind}.gguf", kind), kind)


def text_model(path: Path, kind: Kind = "llava", *, template: str = TEMPLATE) -> Path:
    """A Llama, or for `qwen2vl` the one kind here whose positions have two dimensions."""
    writer = GGUFWriter(path, "qwen2vl" if kind == "qwen2vl" else "llama")
    writer.add_name("random")
    writer.add_file_type(0)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    if kind == "qwen2vl":
        writer.add_rope_dimension_sections([4, 2, 2, 0])
    size = _tokenizer(writer)
    writer.add_chat_template(template)
    draw = np.random.default_rng(11)
    _tensor(writer, "token_embd.weight", draw.standard_normal((size, WIDTH)))
    _tensor(writer, "output.weight", draw.standard_normal((size, WIDTH)))
    _tensor(writer, "output_norm.weight", np.ones(WIDTH))
    for layer in range(LAYERS):
        _text_block(writer, f"blk.{layer}", draw, biased=kind == "qwen2vl")
    return _written(writer, path)


def _tokenizer(writer: GGUFWriter) -> int:
    """SentencePiece of single bytes; answers how many tokens there are."""
    tokens = ["<unk>", "<s>", "</s>", *FRAMES, *(f"<0x{byte:02X}>" for byte in range(256))]
    frames = [TokenType.CONTROL] * len(FRAMES)
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, *frames]
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds + [TokenType.BYTE] * 256)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(END)
    writer.add_unk_token_id(UNKNOWN)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    return len(tokens)


def _text_block(writer: GGUFWriter, name: str, draw: np.random.Generator, *, biased: bool) -> None:
    for norm in ("attn_norm", "ffn_norm"):
        _tensor(writer, f"{name}.{norm}.weight", np.ones(WIDTH))
    for part in ("attn_q", "attn_k", "attn_v"):
        _linear(writer, f"{name}.{part}", WIDTH, WIDTH, draw, biased=biased)
    _linear(writer, f"{name}.attn_output", WIDTH, WIDTH, draw, biased=False)
    for part in ("ffn_gate", "ffn_up"):
        _linear(writer, f"{name}.{part}", FEED_FORWARD, WIDTH, draw, biased=False)
    _linear(writer, f"{name}.ffn_down", WIDTH, FEED_FORWARD, draw, biased=False)


def projector(path: Path, kind: Kind = "llava", *, width: int = WIDTH) -> Path:
    """A vision transformer of `LAYERS` layers, and what makes `width` numbers of its output."""
    writer = GGUFWriter(path, "clip")
    writer.add_name("random eye")
    writer.add_file_type(0)
    writer.add_clip_has_vision_encoder(True)
    names = {"llava": "mlp", "gemma3": "gemma3", "qwen2vl": "qwen2vl_merger"}
    writer.add_clip_projector_type(names[kind])
    writer.add_vision_use_gelu(True)
    writer.add_vision_image_size(SIDE)
    writer.add_vision_patch_size(PATCH)
    writer.add_vision_embedding_length(EYE_WIDTH)
    writer.add_vision_feed_forward_length(2 * EYE_WIDTH)
    writer.add_vision_block_count(LAYERS)
    writer.add_vision_projection_dim(width)
    writer.add_vision_head_count(1)
    writer.add_vision_attention_layernorm_eps(1e-5)
    writer.add_vision_image_mean([0.5, 0.5, 0.5])
    writer.add_vision_image_std([0.5, 0.5, 0.5])
    draw = np.random.default_rng(13)
    for name in _patch_names(kind):
        _halves(writer, name, draw.standard_normal((EYE_WIDTH, 3, PATCH, PATCH)) * 0.1)
    for layer in range(LAYERS):
        _eye_block(writer, f"v.blk.{layer}", draw)
    _projection(writer, kind, width, draw)
    return _written(writer, path)


def _patch_names(kind: Kind) -> list[str]:
    """Qwen2-VL adds up two convolutions, one for each frame of a film."""
    both = ["v.patch_embd.weight", "v.patch_embd.weight.1"]
    return both if kind == "qwen2vl" else both[:1]


def _eye_block(writer: GGUFWriter, name: str, draw: np.random.Generator) -> None:
    for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
        _linear(writer, f"{name}.{part}", EYE_WIDTH, EYE_WIDTH, draw)
    for norm in ("ln1", "ln2"):
        _norm(writer, f"{name}.{norm}")
    _linear(writer, f"{name}.ffn_up", 2 * EYE_WIDTH, EYE_WIDTH, draw)
    _linear(writer, f"{name}.ffn_down", EYE_WIDTH, 2 * EYE_WIDTH, draw)


def _projection(writer: GGUFWriter, kind: Kind, width: int, draw: np.random.Generator) -> None:
    patches = (SIDE // PATCH) ** 2
    if kind != "qwen2vl":
        _tensor(writer, "v.position_embd.weight", draw.standard_normal((patches, EYE_WIDTH)))
    if kind == "gemma3":
        writer.add_vision_projector_scale_factor(2)
        _norm(writer, "v.post_ln")
        _tensor(writer, "mm.soft_emb_norm.weight", np.ones(EYE_WIDTH))
        _tensor(writer, "mm.input_projection.weight", draw.standard_normal((EYE_WIDTH, width)))
        return
    inputs = EYE_WIDTH * (4 if kind == "qwen2vl" else 1)
    if kind == "qwen2vl":
        _norm(writer, "v.post_ln")
    _linear(writer, "mm.0", width, inputs, draw)
    _linear(writer, "mm.2", width, width, draw)


def _linear(
    writer: GGUFWriter,
    name: str,
    rows: int,
    columns: int,
    draw: np.random.Generator,
    *,
    biased: bool = True,
) -> None:
    _tensor(writer, f"{name}.weight", draw.standard_normal((rows, columns)) * columns**-0.5)
    if biased:
        _tensor(writer, f"{name}.bias", draw.standard_normal(rows) * 0.1)


def _norm(writer: GGUFWriter, name: str) -> None:
    _tensor(writer, f"{name}.weight", np.ones(EYE_WIDTH))
    _tensor(writer, f"{name}.bias", np.zeros(EYE_WIDTH))


def _tensor(writer: GGUFWriter, name: str, values: NDArray[np.float64]) -> None:
    writer.add_tensor(name, values.astype(np.float32))


def _halves(writer: GGUFWriter, name: str, values: NDArray[np.float64]) -> None:
    """llama.cpp's convolution wants its kernel in 16 bits."""
    half = GGMLQuantizationType.F16
    writer.add_tensor(name, values.astype(np.float16), raw_dtype=half)


def _written(writer: GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
