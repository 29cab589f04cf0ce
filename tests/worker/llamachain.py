"""llama.cpp's own samplers, applied to a row: what ours are measured by."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import llama_cpp as c
import numpy as np

from rbee import bee
from rbee.worker.engine.backend import Row
from rbee.worker.engine.llama.vocabulary import LlamaVocabulary
from rbee.worker.engine.sampling import Sampling

ITEM = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""`llama_token_data`"""
Left = dict[int, float]
"""The candidates that are left, with their logits."""


@contextmanager
def bee_vocabulary() -> Iterator[tuple[LlamaVocabulary, Any]]:
    """The embedded model's vocabulary without its weights, and llama.cpp's pointer to it."""
    params = c.llama_model_default_params()
    params.vocab_only = True
    model = c.llama_model_load_from_file(str(bee.path()).encode(), params)
    assert model, "the embedded model does not load"
    try:
        yield LlamaVocabulary(model), c.llama_model_get_vocab(model)
    finally:
        c.llama_model_free(model)


def left_by(row: Row, *samplers: Any, said: Sequence[int] = ()) -> Left:
    """What the samplers leave of a row after they have seen `said`; frees them."""
    items = np.zeros(len(row), ITEM)
    items["id"], items["logit"] = np.arange(len(row)), row
    data = (c.llama_token_data * len(row)).from_buffer(items.data)
    array = c.llama_token_data_array(data, len(row), -1, False)
    for sampler in samplers:
        for token in said:
            c.llama_sampler_accept(sampler, token)
        c.llama_sampler_apply(sampler, ctypes.byref(array))
        c.llama_sampler_free(sampler)
    raw = ctypes.string_at(ctypes.cast(array.data, ctypes.c_void_p), array.size * ITEM.itemsize)
    left = np.frombuffer(raw, ITEM)
    return dict(zip(left["id"].tolist(), left["logit"].tolist(), strict=True))


def top_k(count: int) -> Any:
    return c.llama_sampler_init_top_k(count)


def typical(share: float) -> Any:
    return c.llama_sampler_init_typical(share, 0)


def top_p(share: float) -> Any:
    return c.llama_sampler_init_top_p(share, 0)


def min_p(least: float) -> Any:
    return c.llama_sampler_init_min_p(least, 0)


def xtc(probability: float, threshold: float) -> Any:
    return c.llama_sampler_init_xtc(probability, threshold, 0, 1)


def bias(size: int, values: dict[int, float]) -> Any:
    items = (c.llama_logit_bias(*item) for item in values.items())
    made = (c.llama_logit_bias * len(values))(*items)
    return c.llama_sampler_init_logit_bias(size, len(values), made)


def penalties(size: int, params: Sampling) -> Any:
    return c.llama_sampler_init_penalties(
        size,
        params.repeat_last_n,
        params.repeat_penalty,
        params.frequency_penalty,
        params.presence_penalty,
    )


def dry(vocabulary: Any, params: Sampling) -> Any:
    strings = [s.encode() for s in params.dry_sequence_breakers]
    return c.llama_sampler_init_dry(
        vocabulary,
        params.dry_multiplier,
        params.dry_base,
        params.dry_allowed_length,
        params.dry_penalty_last_n,
        (ctypes.c_char_p * len(strings))(*strings),
        len(strings),
    )


def chain(size: int, vocabulary: Any, params: Sampling) -> list[Any]:
    """The default chain, up to the draw."""
    return [
        bias(size, params.bias),
        penalties(size, params),
        dry(vocabulary, params),
        top_k(params.top_k),
        typical(params.typical_p),
        top_p(params.top_p),
        min_p(params.min_p),
        xtc(params.xtc_probability, params.xtc_threshold),
        c.llama_sampler_init_temp(params.temperature),
    ]
