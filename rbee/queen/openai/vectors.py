"""Embeddings and what is made of them: encodings, shorter vectors, ranking. Pure."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Sequence
from typing import Any

from rbee.contracts.worker_api import Ranks, Vectors
from rbee.errors import Invalid
from rbee.queen.openai.vector_requests import EmbeddingRequest, RerankDocument, RerankRequest

Vector = Sequence[float]


def embeddings(found: Vectors, request: EmbeddingRequest) -> dict[str, Any]:
    """The answer of `embeddings`; `model` as the client called it."""
    rows = [_sized(row, request.dimensions) for row in found.vectors]
    packed = request.encoding_format == "base64"
    data = [
        {"object": "embedding", "index": i, "embedding": _packed(row) if packed else row}
        for i, row in enumerate(rows)
    ]
    tokens = {"prompt_tokens": found.prompt_tokens, "total_tokens": found.prompt_tokens}
    return {"object": "list", "data": data, "model": request.model, "usage": tokens}


def _sized(row: Vector, dimensions: int | None) -> Vector:
    """The first `dimensions` numbers, as a unit vector again (what Matryoshka models are for)."""
    if dimensions is None:
        return row
    if dimensions > len(row):
        raise Invalid(
            f"This model's vectors have {len(row)} dimensions; {dimensions} were asked for.",
            path="$.dimensions",
        )
    cut = row[:dimensions]
    length = math.sqrt(sum(x * x for x in cut)) or 1.0
    return [x / length for x in cut]


def _packed(row: Vector) -> str:
    """Little-endian 32-bit floats, as OpenAI packs them."""
    return base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode("ascii")


def document_text(document: str | RerankDocument) -> str:
    return document if isinstance(document, str) else document.text


def by_cosine(found: Vectors, request: RerankRequest) -> dict[str, Any]:
    """The answer of `rerank`: the first vector is the query's, the others the documents'."""
    query, *rows = found.vectors
    return ranked([cosine(query, row) for row in rows], found.prompt_tokens, request)


def by_model(found: Ranks, request: RerankRequest) -> dict[str, Any]:
    """The answer of `rerank`; the scores are the model's own, on whatever scale it was trained."""
    return ranked(found.scores, found.prompt_tokens, request)


def ranked(scores: Sequence[float], tokens: int, request: RerankRequest) -> dict[str, Any]:
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    results: list[dict[str, Any]] = []
    for index in order[: request.top_n]:
        result: dict[str, Any] = {"index": index, "relevance_score": scores[index]}
        if request.return_documents:
            result["document"] = {"text": document_text(request.documents[index])}
        results.append(result)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": request.model, "results": results, "usage": usage}


def cosine(a: Vector, b: Vector) -> float:
    """From -1 to 1; 0 when either has no length."""
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0
