"""How much more a worker says when several ask at the same time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import anyio

from rbee.contracts.events import Failed, Token
from rbee.contracts.operations import Infer
from rbee.keeper.bench import weights
from rbee.keeper.bench.table import Row, row
from rbee.keeper.throwaway import home, serving
from rbee.wire.http import Http
from rbee.wire.replies import from_failed

WIDTHS = (1, 2, 4, 8)
PROMPT_TOKENS = 16


def measure(runs: int, tokens: int) -> Iterator[Row]:
    """Tokens a second over HTTP for each width, and the ratio of the widest to one stream."""
    with home() as env:
        model = Path(env["RBEE_HOME"]) / "random.gguf"
        weights.write(model, weights.BATCH)
        flags = ["--role", "worker", "--model", str(model), "--model-id", "random"]
        with serving(
            [*flags, "--port", "0", "--slots", str(WIDTHS[-1]), "--ctx", "2048"], env
        ) as urls:
            rates = anyio.run(_rates, urls[0], runs, tokens)
    for width, values in rates.items():
        yield row(f"{width} streams, {weights.BATCH}", "tok/s", values)
    ratios = [wide / one for wide, one in zip(rates[WIDTHS[-1]], rates[1], strict=True)]
    yield row(f"{WIDTHS[-1]} streams to 1", "ratio", ratios, ">= 2.5")


async def _rates(url: str, runs: int, tokens: int) -> dict[int, list[float]]:
    rates: dict[int, list[float]] = {width: [] for width in WIDTHS}
    async with Http() as http:
        await _rate(http, url, 1, 8)  # the first one warms caches
        for _ in range(runs):
            for width in WIDTHS:
                rates[width].append(await _rate(http, url, width, tokens))
    return rates


async def _rate(http: Http, url: str, width: int, tokens: int) -> float:
    """Tokens a second of all streams together, from the first token of any to the last of all."""
    marks: list[float] = []
    async with anyio.create_task_group() as group:
        for stream in range(width):
            group.start_soon(_stream, http, url, stream, tokens, marks)
    marks.sort()
    return (len(marks) - width) / (marks[-1] - marks[0])


async def _stream(http: Http, url: str, stream: int, tokens: int, marks: list[float]) -> None:
    """One greedy answer; notes when each token came."""
    wanted = Infer(
        model="random",
        prompt=[300 + stream * PROMPT_TOKENS + i for i in range(PROMPT_TOKENS)],
        max_tokens=tokens,
        temperature=0.0,
        logit_bias={str(weights.END): -100.0},
    )
    async with http.events("POST", f"{url}/v1/infer", wanted) as batches:
        async for batch in batches:
            for event in batch:
                if isinstance(event, Failed):
                    raise from_failed(event)
                if isinstance(event, Token):
                    marks.extend([time.perf_counter()] * len(event.token_ids))
