"""The network: a small Llama (RMSNorm, SwiGLU, grouped-query attention, tied embeddings).

RoPE rotates neighbouring pairs (2i, 2i+1), which is what llama.cpp's `llama` architecture
expects, so no weight needs to be permuted on export.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Config:
    vocab: int = 1792
    dim: int = 256
    layers: int = 5
    heads: int = 8
    kv_heads: int = 2
    ffn: int = 640
    context: int = 2048
    rope_base: float = 10000.0
    eps: float = 1e-5

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads


def rope_table(cfg: Config) -> Tensor:
    """cos and sin of every (position, pair), shape (2, context, head_dim / 2)."""
    pairs = torch.arange(0, cfg.head_dim, 2).float()
    freq = cfg.rope_base ** (-pairs / cfg.head_dim)
    angle = torch.arange(cfg.context).float()[:, None] * freq
    return torch.stack([angle.cos(), angle.sin()])


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    cos, sin = rope[0, : x.shape[-2]], rope[1, : x.shape[-2]]
    even, odd = x[..., 0::2], x[..., 1::2]
    pairs = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return pairs.flatten(-2).to(x.dtype)


class Block(nn.Module):  # type: ignore[misc]  # torch is not installed where types are checked
    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        kv = cfg.kv_heads * cfg.head_dim
        self.attn_norm = nn.RMSNorm(cfg.dim, eps=cfg.eps)
        self.q = nn.Linear(cfg.dim, cfg.dim, bias=False)
        self.k = nn.Linear(cfg.dim, kv, bias=False)
        self.v = nn.Linear(cfg.dim, kv, bias=False)
        self.o = nn.Linear(cfg.dim, cfg.dim, bias=False)
        self.ffn_norm = nn.RMSNorm(cfg.dim, eps=cfg.eps)
        self.gate = nn.Linear(cfg.dim, cfg.ffn, bias=False)
        self.up = nn.Linear(cfg.dim, cfg.ffn, bias=False)
        self.down = nn.Linear(cfg.ffn, cfg.dim, bias=False)

    def forward(self, x: Tensor, rope: Tensor) -> Tensor:
        x = x + self.attention(self.attn_norm(x), rope)
        h = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))

    def attention(self, h: Tensor, rope: Tensor) -> Tensor:
        cfg, (b, t, _) = self.cfg, h.shape
        q = rotate(self.q(h).view(b, t, cfg.heads, -1).transpose(1, 2), rope)
        k = rotate(self.k(h).view(b, t, cfg.kv_heads, -1).transpose(1, 2), rope)
        v = self.v(h).view(b, t, cfg.kv_heads, -1).transpose(1, 2)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o(a.transpose(1, 2).reshape(b, t, -1))


class Bee(nn.Module):  # type: ignore[misc]  # as above
    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        self.embed = nn.Embedding(cfg.vocab, cfg.dim)
        self.blocks = nn.ModuleList(Block(cfg) for _ in range(cfg.layers))
        self.norm = nn.RMSNorm(cfg.dim, eps=cfg.eps)
        self.register_buffer("rope", rope_table(cfg), persistent=False)
        for name, p in self.named_parameters():
            if p.ndim == 2:
                into_residual = name.endswith(("o.weight", "down.weight"))
                nn.init.normal_(p, std=0.02 if into_residual else 0.05)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x, self.rope)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.embed.weight)
