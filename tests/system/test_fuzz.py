"""Bodies made up from each server's own OpenAPI document, thousands of them, to every endpoint.

Whatever is sent, the answer is a whole one and no 5xx (but for a deadline that the body itself
sets too near), streams beside it are as they would be alone, and nothing is left behind. The short
run always sends the same; `FUZZ_TIMES=50 pytest tests/system/test_fuzz.py` sends fifty times as
many, and others each time.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.bee import known_answers as known
from tests.beside import streams_beside
from tests.http import Answer, ask
from tests.openapi import TEXTS, Body, Document
from tests.processes import Started
from tests.queen.conftest import queen
from tests.system.stack import Stack, fact, stack
from tests.worker.bees import infer, serving, status, until

TIMES = int(os.environ.get("FUZZ_TIMES", "1"))
CLOSED = "http://127.0.0.1:9"
"""Where no hub is: a name that looks like one of its repositories goes nowhere."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 * TIMES)]

MODELS = st.sampled_from([*["bee"] * 12, "nobody", "../bee", "bee\0", "x" * 512, "\u202ebee"])
WHOLE_S = 90.0
"""For an answer to the end of the context, which a spoiled limit may let through."""
FEW_TOKENS = st.sampled_from([1, 2, 4])
IDS = st.lists(st.integers(0, 1_791) | st.sampled_from([1_792, 2**31 - 1]), min_size=1, max_size=3)
SCHEMAS = st.sampled_from(
    [
        {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
        {"enum": ["a", "b"]},
        {"$ref": "#"},
        {"type": "string", "pattern": "(a+)+$"},
        {"type": "string", "pattern": "((((a{9}){9}){9}){9}){9}"},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
        {"type": "nothing"},
        {},
    ]
)
KNOWN: dict[str, st.SearchStrategy[Any]] = {
    "model": MODELS,
    "prompt": IDS | st.sampled_from(TEXTS) | st.just("Hello"),
    "tokens": IDS,
    "max_tokens": FEW_TOKENS,
    "max_completion_tokens": FEW_TOKENS,
    "max_output_tokens": FEW_TOKENS,
    "n": st.sampled_from([1, 2, 5]),
    "best_of": st.sampled_from([1, 2, 5]),
    "deadline_ms": st.sampled_from([1, 1_000, 86_400_000]),
    "json_schema": SCHEMAS,
    "schema": SCHEMAS,
    "parameters": SCHEMAS,
    "input_schema": SCHEMAS,
    "grammar": st.sampled_from(
        ['root ::= "a"+', "root ::= root", 'root ::= ("a"*)*', "root ::= (", "start: /a+/", ""]
    ),
    "regex": st.sampled_from(["a+", "(a+)+$", "(a|a)*b", "(", "[\\ud800]", "\\", "a{9999}{9999}"]),
}
ALWAYS = frozenset({"max_tokens", "max_output_tokens"})
EITHER = frozenset({"prompt", "messages", "text"})
PATHS = ("..%2f..%2fetc%2fpasswd", "%00", "%ff%fe", "x" * 5_000, "%F0%9F%90%9D", "a%0d%0ab:c", "-")


def document(url: str) -> Document:
    return Document(ask("GET", f"{url}/v1/openapi.json").json(), KNOWN, ALWAYS, EITHER)


def attack(url: str, path: str, bodies: st.SearchStrategy[Body], examples: int) -> None:
    """Send that many, and judge every answer."""

    @seed(0 if TIMES == 1 else os.getpid())
    @settings(max_examples=examples * TIMES, database=None, suppress_health_check=list(HealthCheck))
    @given(bodies)
    def once(body: Body) -> None:
        judge(ask("POST", url + path, body.raw, body.headers, WHOLE_S), body.raw)

    once()


def judge(found: Answer, sent: bytes) -> None:
    late = found.status == 504 and b"deadline_ms" in sent
    assert found.status < 500 or late, found.body[:500]
    assert b"internal_error" not in found.body, found.body[-500:]
    if found.status >= 400:
        error = found.json()["error"]
        assert error["message"] and len(found.body) < 10_000
    elif found.headers["content-type"].startswith("text/event-stream"):
        assert found.body.endswith(b"\n\n") and b"data: " in found.body


def sane_metrics(url: str) -> dict[str, float]:
    lines = ask("GET", f"{url}/metrics").body.decode().splitlines()
    found = {
        name: float(value)
        for name, _, value in (ln.rpartition(" ") for ln in lines if not ln.startswith("#"))
    }
    assert all(math.isfinite(v) and v >= 0 for v in found.values()), found
    return found


def test_a_worker_takes_whatever_comes() -> None:
    with serving(slots=4) as worker:
        before = status(worker.url)
        made = document(worker.url)
        with streams_beside(f"{worker.url}/v1/infer"):
            for path, schema in made.posts().items():
                examples = 150 if path == "/v1/infer" else 30
                attack(worker.url, path, made.bodies(schema), examples)
        unharmed(worker, before)


def unharmed(worker: Started, before: dict[str, Any]) -> None:
    until(lambda: status(worker.url)["busy"] == 0 == status(worker.url)["waiting"])
    after = status(worker.url)
    assert worker.child.poll() is None and after["incarnation"] == before["incarnation"]
    assert after["jobs"] == [] and after["slots"] == 4
    numbers = sane_metrics(worker.url)
    assert numbers["rbee_slots_busy"] == numbers["rbee_waiting"] == 0
    assert infer(worker.url, "Hello")["choices"][0]["text"] == known.GREETING
    assert "Traceback" not in worker.stderr(), worker.stderr()[-5_000:]


def test_a_queen_takes_whatever_comes(tmp_path: Path) -> None:
    with stack(tmp_path, HF_ENDPOINT=CLOSED) as made:
        greeted(made.queen)
        before = workers(made)
        described = document(made.queen)
        with streams_beside(f"{made.queen}/v1/jobs"):
            for path, schema in described.posts().items():
                if path.startswith("/openai") or path == "/v1/heartbeats":
                    continue  # the same handlers as under /v1; and see below
                attack(made.queen, path, described.bodies(schema), 30)
        fact(lambda: all(w["busy"] == 0 for w in workers(made)), "all slots are free")
        assert [w["incarnation"] for w in workers(made)] == [w["incarnation"] for w in before]
        assert ask("GET", f"{made.queen}/v1/status").json()["queue"]["waiting"] == 0
        sane_metrics(made.queen)
        greeted(made.queen)


def workers(made: Stack) -> list[dict[str, Any]]:
    return [w["worker"] for w in ask("GET", f"{made.queen}/v1/status").json()["workers"]]


def greeted(url: str) -> None:
    body = {"model": "bee", "messages": [{"role": "user", "content": "Hello"}]}
    found = ask("POST", f"{url}/v1/chat/completions", body).json()
    assert found["choices"][0]["message"]["content"] == known.GREETING


def test_forged_heartbeats_do_not_hurt_a_queen() -> None:
    """On a queen of their own: some are in order, and what they claim is believed."""
    with queen() as one:
        made = document(one.url)
        attack(one.url, "/v1/heartbeats", made.bodies(made.posts()["/v1/heartbeats"]), 200)
        assert ask("GET", f"{one.url}/v1/status").status == 200
        sane_metrics(one.url)
        assert "Traceback" not in one.stderr(), one.stderr()[-5_000:]


@pytest.mark.parametrize("start", [lambda: serving(slots=1), queen], ids=["worker", "queen"])
def test_names_in_addresses_may_be_anything(start: Callable[[], Any]) -> None:
    with start() as server:
        for path in document(server.url).gets():
            head, brace, rest = path.partition("{")
            for name in PATHS if brace else ():
                found = ask("GET", server.url + head + name + rest.partition("}")[2])
                assert 400 <= found.status < 500, (path, name, found.body[:500])
        assert ask("GET", f"{server.url}/health").status == 200
        assert "Traceback" not in server.stderr(), server.stderr()[-5_000:]
