"""Turns samples into batches of tokens and the weight of each token's loss."""

import random
from collections.abc import Iterable, Iterator
from itertools import islice

import torch
from tokenizers import Tokenizer
from torch import Tensor

from rbee.bee.recipe.corpus import stream
from rbee.bee.recipe.shapes import Sample

BATCH_TOKENS = 4096
CHUNK = 3000
"""So many samples are sorted by length at a time."""
PROMPT_WEIGHT = 0.1
"""What the user says counts a little, too."""

Row = tuple[list[int], list[float]]


def encode(tok: Tokenizer, sample: Sample, limit: int) -> Row:
    """Token ids and their weights; a token of a short answer weighs more than one of a long."""
    ids: list[int] = []
    learn: list[bool] = []
    for text, wanted in sample:
        piece = tok.encode(text, add_special_tokens=False).ids
        ids += piece
        learn += [wanted] * len(piece)
    scale = 4.0 / max(1, sum(learn)) ** 0.5
    return ids[:limit], [scale if x else scale * PROMPT_WEIGHT for x in learn[:limit]]


def batches(tok: Tokenizer, seed: int, limit: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of about BATCH_TOKENS tokens, one conversation per row."""
    r = random.Random(seed)
    source = stream(seed)
    while True:
        rows = (encode(tok, sample, limit) for sample in islice(source, CHUNK))
        groups = group(sorted(rows, key=lambda row: len(row[0])))
        r.shuffle(groups)
        yield from map(pad, groups)


def group(rows: Iterable[Row]) -> list[list[Row]]:
    """Neighbours together, as many as the longest of them leaves room for."""
    groups: list[list[Row]] = [[]]
    for row in rows:
        if groups[-1] and len(row[0]) * (len(groups[-1]) + 1) > BATCH_TOKENS:
            groups.append([])
        groups[-1].append(row)
    return groups


def pad(rows: list[Row]) -> tuple[Tensor, Tensor]:
    width = max(len(ids) for ids, _ in rows)
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    weights = torch.zeros(len(rows), width)
    for i, (ids, w) in enumerate(rows):
        tokens[i, : len(ids)] = torch.tensor(ids)
        weights[i, : len(ids)] = torch.tensor(w)
    return tokens, weights
