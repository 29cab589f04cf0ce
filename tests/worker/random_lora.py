"""LoRA adapters with random weights, fitted to a model that is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter, Keys

RANK = 4
TARGET = "attn_q.weight"


def write(
    path: Path,
    base: Path,
    *,
    seed: int = 1,
    strength: float = 1.0,
    architecture: str = "",
    widen: int = 0,
    kind: str = "adapter",
    invocation: Sequence[int] = (),
) -> Path:
    """An adapter for `base`: at `strength` 0 it changes nothing, at 1 what the model says. `widen`
    makes its tensors that much too large, `architecture` and `kind` say something untrue; with
    `invocation` it is one that begins where a prompt has these tokens."""
    reader = GGUFReader(base)
    own = str(reader.fields[Keys.General.ARCHITECTURE].contents())
    writer = GGUFWriter(path, architecture or own)
    writer.add_type(kind)
    writer.add_string(Keys.Adapter.TYPE, "lora")
    writer.add_float32(Keys.Adapter.LORA_ALPHA, float(RANK))
    if invocation:
        key = "adapter.alora.invocation_tokens"
        writer.add_key_value(key, list(invocation), GGUFValueType.ARRAY, GGUFValueType.UINT32)
    draw = np.random.default_rng(seed)
    for tensor in reader.tensors:
        if tensor.name.endswith(TARGET):
            inner, outer = (int(side) + widen for side in tensor.shape)
            down = draw.standard_normal((RANK, inner), np.float32)
            up = draw.standard_normal((outer, RANK), np.float32) * np.float32(strength)
            writer.add_tensor(f"{tensor.name}.lora_a", down)
            writer.add_tensor(f"{tensor.name}.lora_b", up)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
