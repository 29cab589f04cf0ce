"""Writes the trained model as GGUF, in F16 and in Q8_0."""

import json
from pathlib import Path

import click
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter, LlamaFileType, TokenType
from gguf.quants import quantize

from rbee.bee.recipe.marks import CONTROL, VISIBLE
from rbee.bee.recipe.model import Config
from rbee.bee.recipe.shipped import CHAT_TEMPLATE, TOKENIZER

FILE = click.Path(path_type=Path)
OUTSIDE = {"embed": "token_embd", "norm": "output_norm"}
IN_BLOCK = {
    "attn_norm": "attn_norm",
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "ffn_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}


def gguf_name(name: str) -> str:
    """blocks.0.q.weight -> blk.0.attn_q.weight"""
    match name.split("."):
        case ["blocks", number, part, _]:
            return f"blk.{number}.{IN_BLOCK[part]}.weight"
        case [part, _]:
            return f"{OUTSIDE[part]}.weight"
    raise ValueError(f"not a tensor of this network: {name}")


def add_description(w: GGUFWriter, cfg: Config, kind: Type) -> None:
    w.add_name("Bee")
    w.add_description("The tiny model that ships inside rbee")
    f16 = kind == Type.F16
    w.add_file_type(LlamaFileType.MOSTLY_F16 if f16 else LlamaFileType.MOSTLY_Q8_0)
    w.add_context_length(cfg.context)
    w.add_embedding_length(cfg.dim)
    w.add_block_count(cfg.layers)
    w.add_feed_forward_length(cfg.ffn)
    w.add_head_count(cfg.heads)
    w.add_head_count_kv(cfg.kv_heads)
    w.add_rope_dimension_count(cfg.head_dim)
    w.add_rope_freq_base(cfg.rope_base)
    w.add_layer_norm_rms_eps(cfg.eps)
    w.add_vocab_size(cfg.vocab)


def token_type(token: str) -> TokenType:
    if token in CONTROL:
        return TokenType.CONTROL
    return TokenType.USER_DEFINED if token in VISIBLE else TokenType.NORMAL


def add_vocabulary(w: GGUFWriter, tokenizer: Path, template: Path) -> None:
    bpe = json.loads(tokenizer.read_text(encoding="utf-8"))["model"]
    tokens = sorted(bpe["vocab"], key=bpe["vocab"].__getitem__)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("llama-bpe")
    w.add_token_list(tokens)
    w.add_token_types([token_type(token) for token in tokens])
    w.add_token_merges([" ".join(merge) for merge in bpe["merges"]])
    w.add_bos_token_id(tokens.index("<|endoftext|>"))
    w.add_eos_token_id(tokens.index("<|im_end|>"))
    w.add_pad_token_id(tokens.index("<|endoftext|>"))
    w.add_add_bos_token(False)
    w.add_chat_template(template.read_text(encoding="utf-8").strip())


def add_weights(w: GGUFWriter, weights: dict[str, torch.Tensor], kind: Type) -> None:
    for name, tensor in weights.items():
        array = tensor.float().numpy()
        if array.ndim == 1:
            w.add_tensor(gguf_name(name), array)
        elif kind == Type.F16:
            w.add_tensor(gguf_name(name), array.astype(np.float16))
        else:
            w.add_tensor(gguf_name(name), quantize(array, kind), raw_dtype=kind)


def finish(w: GGUFWriter) -> None:
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


@click.command(help=__doc__)
@click.option("--model", type=FILE, default="bee.pt", show_default=True)
@click.option("--tokenizer", type=FILE, default=TOKENIZER, help="By default the shipped one.")
@click.option("--template", type=FILE, default=CHAT_TEMPLATE, help="By default the shipped one.")
@click.option("--out", type=FILE, default="bee.gguf", show_default=True, help="The Q8_0 file.")
def main(model: Path, tokenizer: Path, template: Path, out: Path) -> None:
    saved = torch.load(model)
    for file, kind in [(out, Type.Q8_0), (out.with_suffix(".f16.gguf"), Type.F16)]:
        w = GGUFWriter(str(file), "llama")
        add_description(w, Config(**saved["config"]), kind)
        add_vocabulary(w, tokenizer, template)
        add_weights(w, saved["model"], kind)
        finish(w)
        click.echo(f"{file}: {file.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
