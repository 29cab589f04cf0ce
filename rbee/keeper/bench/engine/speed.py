"""Decoding at several widths: through the worker's HTTP endpoint, and what llama.cpp could do.

Within a run the ways take turns, in the other order every second time; a ratio is of neighbours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from rbee.keeper.bench.engine import asking, counters
from rbee.keeper.bench.engine.limit import Limit
from rbee.keeper.bench.engine.peer import Peer
from rbee.keeper.bench.engine.plan import Plan, Subject
from rbee.keeper.bench.engine.streams import ran_together, rate, together
from rbee.keeper.bench.table import Row, row

BARE, GREEDY, SAMPLED, PEER = "bare loop", "greedy", "sampled", "llama-server"
HOW = {GREEDY: asking.GREEDY, SAMPLED: asking.SAMPLED}
WARM_TOKENS = 4
WAKE_BYTES = 1_024
"""Some six tokens. The rate is counted from piece to piece, so that it loses nothing by it."""
ENOUGH = ">= 0.97"
SHARE = "<= 0.03"


class Speed:
    """What was measured: tokens a second by width and way, the engine's share by way."""

    def __init__(self, subject: Subject, limit: Limit, peer: Peer | None, plan: Plan) -> None:
        self._subject = subject
        self._plan = plan
        self._limit = limit
        self._ways: dict[str, Callable[[int, int], float]] = {
            BARE: lambda width, tokens: limit.rate(width, tokens, asking.PROMPT_TOKENS),
            GREEDY: lambda width, tokens: self._worker(GREEDY, width, tokens),
            SAMPLED: lambda width, tokens: self._worker(SAMPLED, width, tokens),
        }
        if peer is not None:
            self._ways[PEER] = lambda width, tokens: peer.rate(self._prompts(width), tokens)
        self._rates: dict[tuple[int, str], list[float]] = defaultdict(list)
        self._shares: dict[str, list[float]] = defaultdict(list)
        self.short = False
        """Whether some streams never ran together, so that their figure is too low."""

    def measure(self) -> None:
        widest = max(self._plan.widths)
        for way in self._ways.values():
            way(widest, WARM_TOKENS)
        self._shares.clear()
        self.short = False
        for run in range(self._plan.runs):
            for width in self._plan.widths:
                for name in list(self._ways)[:: -1 if run % 2 else 1]:
                    value = self._ways[name](width, self._plan.tokens)
                    self._rates[width, name].append(value)

    def rows(self) -> Iterator[Row]:
        name = self._subject.name
        for width in self._plan.widths:
            at = f"{name}, {width} streams"
            for way in self._ways:
                yield row(f"{at}, {way}", "tok/s", self._rates[width, way])
            for way in (GREEDY, SAMPLED):
                yield row(f"{at}, {way} / bare", "ratio", self._ratios(width, way, BARE), ENOUGH)
            if PEER in self._ways:
                ratios = self._ratios(width, GREEDY, PEER)
                yield row(f"{at}, {GREEDY} / {PEER}", "ratio", ratios, "> 1")
        widest = max(self._plan.widths)
        for way, shares in self._shares.items():
            what = f"{name}, {widest} streams, {way}, own share of a step"
            yield row(what, "ratio", shares, SHARE)

    def _ratios(self, width: int, way: str, other: str) -> list[float]:
        pairs = zip(self._rates[width, way], self._rates[width, other], strict=True)
        return [a / b for a, b in pairs]

    def _worker(self, way: str, width: int, tokens: int) -> float:
        url = self._subject.url
        bodies = [asking.body(prompt, tokens, HOW[way]) for prompt in self._prompts(width)]
        before = counters.read(url)
        answers = together(url, asking.PATH, bodies, WAKE_BYTES)
        self.short |= not ran_together(answers)
        if width == max(self._plan.widths):
            self._shares[way].append(counters.engine_share(before, counters.read(url)))
        return rate(answers)

    def _prompts(self, width: int) -> list[list[int]]:
        return [self._subject.drawer.ids() for _ in range(width)]
