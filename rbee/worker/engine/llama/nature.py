"""What a model is for: text, vectors or scores. Told by its header, and by whether it has a memory.

1. A model without a memory (BERT and its like) reads a whole input at once and generates nothing.
2. One that declares how its outputs are pooled is made for vectors, or for scores. One that does
   not gives vectors all the same: the mean over all tokens.
3. The vectors of a model that reads from left to right can be computed in pieces (`in_pieces`).
   That is certain of those that declare nothing or take their last token's output; others may look
   in both directions, and llama.cpp does not tell.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp as c

from rbee import gguf_header
from rbee.errors import BadModelFile

log = logging.getLogger(__name__)
MAX_INPUTS = 16
"""How many inputs share a batch."""
_POOLINGS = {
    str(kind): kind
    for kind in (
        c.LLAMA_POOLING_TYPE_MEAN,
        c.LLAMA_POOLING_TYPE_CLS,
        c.LLAMA_POOLING_TYPE_LAST,
        c.LLAMA_POOLING_TYPE_RANK,
    )
}


@dataclass(frozen=True)
class Nature:
    """What can be asked of a model, and how its vectors come about."""

    remembers: bool
    """Whether its contexts have a memory, and so whether an input can grow."""
    generates: bool
    ranks: bool
    pooling: int
    in_pieces: bool
    inputs: int
    """How many inputs share a batch: one, where a sequence has a large state of its own."""

    @property
    def embeds(self) -> bool:
        """A ranker's classifier stands where its vectors were."""
        return not self.ranks


def nature_of(path: Path, model: Any, meta: Callable[[str], str | None]) -> Nature:
    if c.llama_model_has_encoder(model) and c.llama_model_has_decoder(model):
        raise BadModelFile("Models of two halves, an encoder and a decoder, are not supported.")
    remembers = _remembers(model)
    architecture = meta("general.architecture")
    declared = _POOLINGS.get(meta(f"{architecture}.pooling_type") or "")
    if declared == c.LLAMA_POOLING_TYPE_RANK and not gguf_header.read(path).classifier:
        log.warning("%s says that it ranks, but its classifier was left out", path.name)
        declared = None
    left_to_right = remembers and meta(f"{architecture}.attention.causal") != "false"
    recurrent = c.llama_model_is_recurrent(model) or c.llama_model_is_hybrid(model)
    return Nature(
        remembers=remembers,
        generates=left_to_right and not c.llama_model_has_encoder(model),
        ranks=declared == c.LLAMA_POOLING_TYPE_RANK,
        pooling=declared or c.LLAMA_POOLING_TYPE_MEAN,
        in_pieces=left_to_right and declared in (None, c.LLAMA_POOLING_TYPE_LAST),
        inputs=1 if recurrent else MAX_INPUTS,
    )


def _remembers(model: Any) -> bool:
    """A small context tells; llama.cpp has no other way to ask."""
    params = c.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = 64
    probe = c.llama_init_from_model(model, params)
    try:
        return not probe or bool(c.llama_get_memory(probe))
    finally:
        if probe:
            c.llama_free(probe)
