"""An answer cut off anywhere and gone on with is the answer: same tokens, text, calls and scores.

The cut is made in the log of an uncut answer, at an event, as a death would; the rest is asked of
the worker as a queen would ask it.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.bee import known_answers as known
from tests.http import Answer, ask
from tests.processes import Started
from tests.worker.bees import request, status, until

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "size": {"enum": [1, 2, 3]}},
    "required": ["city", "size"],
}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
SHARE, LEAST = 0.01, 0.001
"""How near a log probability is: who goes on computes the tokens before it in other batches than
they were said in, and the last digits are rounded otherwise. (Seen: 0.025 of -12.)"""
FORMS: dict[str, dict[str, Any]] = {
    "greedy": {"said": "Count from 1 to 10."},
    "sampled": {"said": known.STORY, "temperature": 1.2, "seed": 7, "max_tokens": 40},
    "several": {"said": known.STORY, "temperature": 1.0, "seed": 3, "n": 3, "max_tokens": 12},
    "scored": {"said": "Count from 1 to 10.", "logprobs": 2, "max_tokens": 20},
    "schema": {"said": "A city.", "json_schema": SCHEMA},
    "call": {"said": "What is the weather in Paris?", "tools": [TOOL], "tool_choice": "required"},
    "stopped": {"said": "Count from 1 to 10.", "stop": ["5, 6", ", 9"]},
    "repeats": {
        "said": known.STORY,
        "repeat_penalty": 1.3,
        "dry_multiplier": 0.8,
        "frequency_penalty": 0.5,
        "seed": 1,
        "temperature": 0.9,
        "max_tokens": 40,
    },
    "text": {"prompt": "Once upon a time", "max_tokens": 24},
    "echo": {"prompt": "Once upon a time", "echo": True, "logprobs": 1, "max_tokens": 12},
}


def written(events: list[dict[str, Any]], n: int) -> list[dict[str, Any]]:
    """What a queen would know of each choice."""
    found: list[dict[str, Any]] = [{"token_ids": []} for _ in range(n)]
    for event in events:
        if event["type"] == "token":
            mine = found[event.get("choice", 0)]
            mine["token_ids"] = mine["token_ids"] + event["token_ids"]
            mine |= {k: event[k] for k in ("finish", "stop") if event.get(k)}
    return found


def resumed(
    url: str, form: dict[str, Any], before: list[dict[str, Any]], **more: Any
) -> list[dict[str, Any]]:
    """All events of the answer, gone on with behind `before`."""
    resume = {
        "written": written(before, form.get("n", 1)),
        "events": before,
        "prompted": any(e["type"] == "prompt" for e in before),
        **more,
    }
    body = {"job_id": "job", "infer": request(**form), "resume": resume}
    found: Answer = ask("POST", f"{url}/v1/answers", body)
    assert found.status == 200, found.body
    begun, *rest = found.events
    assert begun["type"] == "begun" and begun.get("first", 0) == len(before)
    return [*before, *rest]


def score_of(p: dict[str, Any], *, near: bool) -> dict[str, Any]:
    """A token's score and those of what might have come instead, in the worker's own order."""
    found = {**p, "top": [score_of(other, near=near) for other in p.get("top", [])]}
    if near and "logprob" in p:
        found["logprob"] = pytest.approx(p["logprob"], rel=SHARE, abs=LEAST)
    return found


def plain(event: dict[str, Any], *, near: bool = False) -> dict[str, Any]:
    """Without what is another's each time: ids of calls, times. `near`: what scores shall be."""
    event = {k: v for k, v in event.items() if k != "timings"}
    if event.get("tool_calls"):
        event["tool_calls"] = [{**call, "id": ""} for call in event["tool_calls"]]
    if event.get("logprobs"):
        event["logprobs"] = [score_of(p, near=near) for p in event["logprobs"]]
    if event.get("usage"):
        event["usage"] = {**event["usage"], "cached_tokens": 0}
    return event


def by_choice(events: list[dict[str, Any]], *, near: bool = False) -> list[dict[str, Any]]:
    """Choices may overtake one another; each has its own order."""
    found = [plain(event, near=near) for event in events]
    return sorted(found, key=lambda e: (e["type"] == "done", e.get("choice", 0)))


@pytest.mark.parametrize("name", FORMS)
def test_every_cut_of_an_answer_goes_on_as_if_it_were_none(bee_worker: Started, name: str) -> None:
    form = FORMS[name]
    whole: list[dict[str, Any]] = list(
        ask("POST", f"{bee_worker.url}/v1/infer", request(**form)).events
    )
    assert whole[-1]["type"] == "done" and len(whole) > 1
    cuts = range(1, len(whole) - 1, max(1, len(whole) // 12))
    for cut in [*cuts, len(whole) - 1]:
        salt = f"cut-{name}-{cut}"  # what the first one computed is not here
        rest = resumed(bee_worker.url, {**form, "cache_salt": salt}, whole[:cut])
        assert rest[:cut] == whole[:cut]
        assert rest[-1]["usage"].get("cached_tokens", 0) == 0
        assert by_choice(rest) == by_choice(whole, near=True), f"cut at {cut}"


def test_the_prompt_is_read_as_the_first_worker_read_it(bee_worker: Started) -> None:
    """By its ids: here they are of another question than the messages."""
    url, form = bee_worker.url, {"said": "Hello"}
    other = ask(
        "POST",
        f"{url}/tokenize",
        {"messages": [{"role": "user", "content": "Count from 1 to 10."}]},
    )
    found = resumed(url, form, [], prompt_ids=other.json()["tokens"])
    text = "".join(e.get("text", "") for e in found)
    assert text == known.ANSWERS["Count from 1 to 10."]


@pytest.mark.parametrize(
    ("resume", "path"),
    [
        ({"written": []}, "resume.written"),
        ({"written": [{}, {}]}, "resume.written"),
        ({"written": [{"token_ids": [10**6]}]}, "resume.written[0]"),
        ({"written": [{"token_ids": [-1]}]}, "resume.written[0].token_ids[0]"),
        ({"written": [{}], "prompt_ids": [10**6]}, "resume.prompt_ids"),
        ({"written": [{}], "events": [{"type": "done", "finish_reason": "stop"}]}, "resume.events"),
        ({"written": [{}], "more": 1}, "resume.more"),
    ],
)
def test_what_no_answer_can_have_been_is_refused(
    bee_worker: Started, resume: dict[str, Any], path: str
) -> None:
    body = {"job_id": "job", "infer": request("Hello"), "resume": resume}
    found = ask("POST", f"{bee_worker.url}/v1/answers", body)
    assert 400 <= found.status < 500
    assert found.json()["error"]["param"] == path
    until(lambda: status(bee_worker.url)["busy"] == 0)


def test_an_answer_that_ends_behind_its_last_word_only_says_so(bee_worker: Started) -> None:
    form: dict[str, Any] = {"said": "Count from 1 to 10.", "max_tokens": 5}
    whole = list(ask("POST", f"{bee_worker.url}/v1/infer", request(**form)).events)
    rest = resumed(bee_worker.url, form, whole[:-1])
    assert list(map(plain, rest)) == list(map(plain, whole))
    assert rest[-1]["finish_reason"] == "length"


def test_what_was_said_may_be_larger_than_any_request(bee_worker: Started) -> None:
    """The log of a long answer with its scores is; a request of that size is refused."""
    score = {"token_id": 1, "text": "x" * 900, "logprob": -1.0}
    said = [
        {"type": "token", "index": n, "text": "x", "token_ids": [100], "logprobs": [score]}
        for n in range(10_000)
    ]
    events = [{**event, "choice": 1} for event in said]  # of a choice that is complete
    body = {
        "job_id": "job",
        "infer": request("Hello", n=2, max_tokens=3),
        "resume": {"written": [{}, {"finish": "length"}], "events": events},
    }
    found = ask("POST", f"{bee_worker.url}/v1/answers", body)
    assert found.status == 200 and found.events[-1]["type"] == "done"
    plain = ask("POST", f"{bee_worker.url}/v1/infer", request("x" * 9_000_000))
    assert plain.status == 413
