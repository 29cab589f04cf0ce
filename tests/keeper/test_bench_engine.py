"""`rbee bench engine` as a person calls it, on a model that is there in no time."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from rbee.errors import Upstream
from rbee.keeper.bench import weights
from rbee.keeper.bench.engine import counters, memory, plan
from rbee.keeper.bench.engine.limit import limit
from rbee.keeper.bench.engine.plan import settings
from rbee.keeper.throwaway import home
from tests.keeper.command import Finished, Rbee, local

QUICK = ["--widths", "1,2", "--runs", "1", "--tokens", "32", "--requests", "32", "--threads", "1"]


@pytest.fixture
def rbee(tmp_path: Path) -> Rbee:
    return local(tmp_path)


def rows_of(told: Finished) -> dict[str, dict[str, object]]:
    assert told.code == 0, told.err
    return {(row := json.loads(line))["what"]: row for line in told.out.splitlines()}


def test_the_bare_loop_measures_and_knows_what_was_allocated(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    weights.write(file, weights.TINY)
    with home() as env, limit({**env, **settings(file, "random", threads=1)}) as bare:
        assert bare.rate(2, tokens=4, prompt=16) > 0
        assert bare.rate(16, tokens=4, prompt=700) > 0
    cells = plan.SLOTS * plan.CONTEXT * weights.TINY.layers
    assert bare.buffers["KV"] == pytest.approx(cells * 2 * weights.TINY.kv_width * 2, rel=0.01)


@pytest.mark.slow
def test_every_row_of_the_table(rbee: Rbee, tmp_path: Path) -> None:
    peer = tmp_path / "llama-server"
    stub = Path(__file__).with_name("stub_peer.py")
    peer.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{stub}" "$@"\n')
    peer.chmod(peer.stat().st_mode | stat.S_IXUSR)
    told = rbee("bench", "engine", "--model", "tiny", *QUICK, "--peer", str(peer), "--json")
    rows = rows_of(told)
    for width in (1, 2):
        for way in ("bare loop", "greedy", "sampled", "llama-server"):
            assert rows[f"tiny, {width} streams, {way}"]["median"]
        for ratio in ("greedy / bare", "sampled / bare", "greedy / llama-server"):
            assert rows[f"tiny, {width} streams, {ratio}"]["aim"]
    for what in (
        "tiny, 2 streams, greedy, own share of a step",
        "tiny, long prompt beside 8 streams, largest gap / median",
        "tiny, long prompt beside 8 streams, its first token",
        "tiny, long conversation, second turn / cold",
        "tiny, 16 sharing a system prompt, one after another, computed",
        "tiny, 16 sharing a system prompt, at the same time, computed",
        "bee, repetitive text, guessing on / off",
    ):
        assert what in rows
    assert rows["bee, repetitive text, the same answer"]["low"] == 1
    assert ("tiny, own memory, just loaded" in rows) == (sys.platform == "linux")
    assert "its rows are left out" not in told.err


@pytest.mark.parametrize("widths", ["0", "17", "1,,2", "two", ""])
def test_a_width_that_cannot_be(rbee: Rbee, widths: str) -> None:
    told = rbee("bench", "engine", "--widths", widths)
    assert told.code == 2
    assert "numbers from 1 to 16" in told.err


def test_counters_grow_by_what_is_asked_between_two_looks() -> None:
    before = {"rbee_prompt_tokens_total": 100.0, "rbee_cached_tokens_total": 0.0}
    after = {"rbee_prompt_tokens_total": 400.0, "rbee_cached_tokens_total": 120.0}
    assert counters.computed(before, after) == 180
    with pytest.raises(Upstream, match="rbee_engine_step_seconds_total"):
        counters.engine_share(before, after)
    before |= {"rbee_engine_step_seconds_total": 1.0, "rbee_engine_decode_seconds_total": 1.0}
    after |= {"rbee_engine_step_seconds_total": 3.0, "rbee_engine_decode_seconds_total": 2.9}
    assert counters.engine_share(before, after) == pytest.approx(0.05)


def test_anonymous_memory_is_what_this_process_wrote_itself() -> None:
    before = memory.anonymous(os.getpid())
    if before is None:
        pytest.skip("this system does not tell")
    held = bytearray(os.urandom(64 * 1024 * 1024))
    after = memory.anonymous(os.getpid())
    assert after is not None and after - before > len(held) // 2
