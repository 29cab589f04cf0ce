"""Vectors and scores: what is asked becomes inputs, the engine computes them, and it is told.

1. What is wrong with an input is said before the engine hears of any, by its place in the request.
2. Nobody waits any more: the engine stops between two groups of inputs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from anyio.to_thread import run_sync

from rbee.contracts.worker_api import Embed, Rank, Ranks, Vectors
from rbee.errors import BadRequest, Invalid, PromptTooLong, RbeeError
from rbee.worker.engine.backend import Row
from rbee.worker.engine.commands import Command, Vector
from rbee.worker.prepare import LoadedModel


class Pooled:
    """Answers them. `send` hands a command to the engine, which runs in a thread of its own."""

    def __init__(self, model: LoadedModel, send: Callable[[Command], None]) -> None:
        self._model = model
        self._send = send

    async def embed(self, request: Embed) -> Vectors:
        """Vectors in the order of the inputs."""
        inputs = await run_sync(embed_inputs, self._model, request.input)
        rows = await self._rows(inputs)
        return Vectors(
            model=self._model.id,
            vectors=[_normal(row) if request.normalise else row.tolist() for row in rows],
            prompt_tokens=sum(len(ids) for ids in inputs),
        )

    async def rank(self, request: Rank) -> Ranks:
        """Scores in the order of the documents."""
        inputs = await run_sync(rank_inputs, self._model, request.query, request.documents)
        rows = await self._rows(inputs)
        return Ranks(
            model=self._model.id,
            scores=[float(row[0]) for row in rows],
            prompt_tokens=sum(len(ids) for ids in inputs),
        )

    async def _rows(self, inputs: list[list[int]]) -> list[Row]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[Row]] = loop.create_future()

        def settle(found: list[Row] | RbeeError) -> None:
            if done.done():
                return
            if isinstance(found, RbeeError):
                done.set_exception(found)
            else:
                done.set_result(found)

        def cross(found: list[Row] | RbeeError) -> None:
            loop.call_soon_threadsafe(settle, found)

        command = Vector(inputs, cross)
        self._send(command)
        try:
            return await done
        finally:
            command.cancelled.set()


def embed_inputs(model: LoadedModel, given: Sequence[str | list[int]]) -> list[list[int]]:
    """Token ids of each input. Raises `BadRequest` and its kind."""
    if not model.embeds:
        raise BadRequest(
            "This model scores documents, it makes no vectors.",
            hint="ask /v1/rank of the worker, or /v1/rerank of the queen",
            path="$.model",
        )
    places = ((f"$.input[{number}]", item) for number, item in enumerate(given))
    return _checked(model, ((place, _ids(model, item, place)) for place, item in places))


def rank_inputs(model: LoadedModel, query: str, documents: Sequence[str]) -> list[list[int]]:
    """Token ids of the query with each document. Raises `BadRequest` and its kind."""
    if model.pairs is None:
        raise BadRequest(
            "This model does not rank: it has no classifier.",
            hint="the queen's /v1/rerank ranks by any model's vectors",
            path="$.model",
        )
    if not query:
        raise BadRequest("The query is empty.", path="$.query")
    pairs = model.pairs(query, documents)
    return _checked(model, ((f"$.documents[{n}]", ids) for n, ids in enumerate(pairs)))


def _ids(model: LoadedModel, item: str | list[int], place: str) -> list[int]:
    """None for an empty text, whatever the tokenizer would put around it."""
    if isinstance(item, str):
        return model.vocabulary.tokenize(item, add_special=True) if item else []
    outside = [token for token in item if not 0 <= token < model.vocabulary.size]
    if outside:
        raise Invalid(
            f"Token {outside[0]} is outside the vocabulary of {model.vocabulary.size}.", path=place
        )
    return item


def _checked(model: LoadedModel, inputs: Iterable[tuple[str, list[int]]]) -> list[list[int]]:
    made = []
    for place, ids in inputs:
        if not ids:
            raise BadRequest(f"{place} is empty: there is nothing to read.", path=place)
        if len(ids) > model.context:
            raise PromptTooLong(
                f"{place} has {len(ids)} tokens; this worker's context is {model.context}.",
                path=place,
            )
        made.append(ids)
    return made


def _normal(row: Row) -> list[float]:
    """Scaled to length 1; the zero vector stays."""
    length = float((row @ row) ** 0.5)
    found: list[float] = (row / length if length else row).tolist()
    return found
