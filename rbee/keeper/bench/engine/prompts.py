"""Long prompts: what one does to streams that run, and what the cache saves of the next."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

from rbee.errors import Upstream
from rbee.keeper.bench.engine import asking, counters
from rbee.keeper.bench.engine.plan import CONTEXT, Subject
from rbee.keeper.bench.engine.streams import Stream, Streams, together
from rbee.keeper.bench.table import Row, row

LONG_TOKENS = 2_000
SYSTEM_TOKENS = 1_000
TURN_TOKENS = 32
"""What a person adds to a conversation, and what is answered."""
RUNNING = 8
CALM_ARRIVALS = 32
"""Of every stream, before the long prompt comes and after it has its answer."""
SHARERS = 16


def arriving(subject: Subject, runs: int) -> Iterator[Row]:
    """A long prompt while streams run: their largest gap, and its own first token."""
    whole, before, first = [], [], []
    for _ in range(runs):
        streams, late = _disturbed(subject)
        whole.append(max(_worst(s, late, math.inf) for s in streams))
        before.append(max(_worst(s, late, late.sent) for s in streams))
        first.append(late.first_s())
        counters.await_idle(subject.url)
    at = f"{subject.name}, long prompt beside {RUNNING} streams"
    yield row(f"{at}, largest gap / median", "ratio", whole, "<= 3")
    yield row(f"{at}, largest gap / median before it", "ratio", before)
    yield row(f"{at}, its first token", "s", first)


def _worst(stream: Stream, late: Stream, until: float) -> float:
    """A stream's largest gap since the prompt came, in medians of all its gaps up to `until`."""
    return max(stream.gaps(since=late.sent)) / statistics.median(stream.gaps(until=until))


def _disturbed(subject: Subject) -> tuple[list[Stream], Stream]:
    """The streams, and the answer to the prompt that came while they ran."""
    drawer = subject.drawer
    limit = CONTEXT - asking.PROMPT_TOKENS - 1
    with Streams(subject.url) as streams:
        running = [
            streams.start(asking.PATH, asking.body(drawer.ids(), limit)) for _ in range(RUNNING)
        ]
        streams.read(lambda: all(s.arrivals >= CALM_ARRIVALS for s in running))
        late = streams.start(asking.PATH, asking.body(drawer.ids(LONG_TOKENS), TURN_TOKENS))
        streams.read(lambda: late.ended)
        enough = [s.arrivals + CALM_ARRIVALS for s in running]
        streams.read(lambda: all(s.arrivals >= e for s, e in zip(running, enough, strict=True)))
    return running, late


def second_turn(subject: Subject, runs: int) -> Iterator[Row]:
    """A long conversation, cold, and its next turn."""
    cold, warm = [], []
    for _ in range(runs):
        prompt = subject.drawer.ids(LONG_TOKENS)
        first = _ask(subject, prompt)
        _check_cached(first, 0, asking.PROMPT_TOKENS)  # it may begin as another did, by chance
        longer = [*prompt, *first.ids(), *subject.drawer.ids(TURN_TOKENS)]
        second = _ask(subject, longer)
        _check_cached(second, LONG_TOKENS, len(longer))
        cold.append(first.first_s())
        warm.append(second.first_s())
    at = f"{subject.name}, long conversation"
    ratios = [w / c for w, c in zip(warm, cold, strict=True)]
    yield row(f"{at}, first token, cold", "s", cold)
    yield row(f"{at}, first token, second turn", "s", warm)
    yield row(f"{at}, second turn / cold", "ratio", ratios, "<= 0.1")


def shared_system(subject: Subject, runs: int) -> Iterator[Row]:
    """Conversations that begin alike: prompt tokens computed, when they come one after another
    and when they come at the same time."""
    for how, at_once in (("one after another", False), ("at the same time", True)):
        found = [_computed(subject, at_once=at_once) for _ in range(runs)]
        best = SYSTEM_TOKENS + SHARERS * TURN_TOKENS
        what = f"{subject.name}, {SHARERS} sharing a system prompt, {how}"
        yield row(f"{what}, computed", "tokens", found, f"<= {best}")


def _computed(subject: Subject, *, at_once: bool) -> float:
    drawer, url = subject.drawer, subject.url
    system = drawer.ids(SYSTEM_TOKENS)
    prompts = [system + drawer.ids(TURN_TOKENS) for _ in range(SHARERS)]
    bodies = [asking.body(prompt, 2) for prompt in prompts]
    before = counters.read(url)
    for group in [bodies] if at_once else [[body] for body in bodies]:
        for stream in together(url, asking.PATH, group):
            stream.usage()
    return counters.computed(before, counters.read(url))


def _ask(subject: Subject, prompt: list[int]) -> Stream:
    (stream,) = together(subject.url, asking.PATH, [asking.body(prompt, TURN_TOKENS)])
    return stream


def _check_cached(stream: Stream, least: int, most: int) -> None:
    """The answer must say itself what it found in the cache."""
    cached = stream.usage()["cached_tokens"]
    if not least <= cached <= most:
        raise Upstream(f"cached_tokens is {cached}, not between {least} and {most}.")
