"""A worker that sees, as a process: pictures over HTTP, seen, refused, and not mixed up."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

import pytest
from PIL import Image

from tests.http import ask, listening
from tests.processes import Started
from tests.worker import random_projector as random
from tests.worker.bees import failing, serving, status, until
from tests.worker.pictures import encoded, noise, part, picture_url, png_of, url
from tests.worker.random_projector import Kind, pair

KINDS = cast(tuple[Kind, ...], get_args(Kind))
NOISE = 0.05
"""In the logarithm of a probability: far less than another picture makes."""
Parts = list[str | int]
"""Texts, and pictures by their seeds."""


@contextmanager
def seeing(folder: Path, kind: Kind, **settings: object) -> Iterator[Started]:
    files = pair(folder, kind)
    given = {"model_id": kind, "slots": 3, "ctx": 600, "batch_tokens": 64, **settings}
    with serving(model=files.model, projector=files.projector, **given) as process:
        yield process


@pytest.fixture(scope="module", params=KINDS)
def eye(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Started, Kind]]:
    with seeing(tmp_path_factory.mktemp("eye"), request.param) as process:
        yield process, request.param


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    with seeing(tmp_path_factory.mktemp("llava"), "llava") as process:
        yield process


def said(parts: Parts) -> list[dict[str, Any]]:
    content = [
        part(picture_url(p)) if isinstance(p, int) else {"type": "text", "text": p} for p in parts
    ]
    return [{"role": "user", "content": content}]


def body(model: str, messages: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    given = {"max_tokens": 12, "temperature": 0, "ignore_eos": True, "stream": False, **fields}
    return {"operation": "infer", "model": model, "messages": messages, **given}


def infer(worker: Started, model: str, parts: Parts, **fields: Any) -> Any:
    found = ask("POST", f"{worker.url}/v1/infer", body(model, said(parts), **fields))
    assert found.status == 200, found.body
    return found.json()


def ids(answer: Any) -> list[int]:
    found: list[int] = answer["choices"][0]["token_ids"]
    return found


def heard(answer: Any) -> list[tuple[int, float]]:
    """The tokens of the answer, and how likely each was: more than the tokens alone tell."""
    return [(said["token_id"], said["logprob"]) for said in answer["choices"][0]["logprobs"]]


def alike(one: Any, other: Any) -> bool:
    """The same answer, as far as sums in another order leave it: up to the first token that was all
    but a toss-up."""
    for mine, yours in zip(
        one["choices"][0]["logprobs"], other["choices"][0]["logprobs"], strict=True
    ):
        first, second = (top["logprob"] for top in mine["top"])
        if mine["token_id"] != yours["token_id"]:
            return bool(first - second < NOISE)
        if abs(mine["logprob"] - yours["logprob"]) > NOISE:
            return False
    return True


def test_the_answer_depends_on_the_picture(eye: tuple[Started, Kind]) -> None:
    worker, kind = eye
    assert status(worker.url)["sees"]
    one, same, other = (
        infer(worker, kind, ["What is ", seed, "this?"], cache_salt=str(turn), logprobs=0)
        for turn, seed in enumerate((1, 1, 2))
    )
    assert len(ids(one)) == 12
    assert heard(one) == heard(same) != heard(other)


def test_usage_counts_the_tokens_of_pictures(eye: tuple[Started, Kind]) -> None:
    worker, kind = eye
    answer = infer(worker, kind, ["count ", 3, "me"], cache_salt="usage")
    asked = {"model": kind, "messages": said(["count ", 3, "me"])}
    tokens = ask("POST", f"{worker.url}/tokenize", asked).json()
    assert answer["usage"]["prompt_tokens"] == tokens["count"] == len(tokens["tokens"])
    cells = random.IMAGE_TOKENS[kind] if kind != "qwen2vl" else 5 * 4
    assert tokens["tokens"].count(-1) == cells


def test_the_next_turn_finds_the_picture_computed(eye: tuple[Started, Kind]) -> None:
    worker, kind = eye
    first = said(["Look: ", 4, "well?"])
    cold = ask("POST", f"{worker.url}/v1/infer", body(kind, first, cache_salt="turns")).json()
    answer = cold["choices"][0]["text"]
    turn = [*first, {"role": "assistant", "content": answer}, {"role": "user", "content": "more"}]
    warm = ask("POST", f"{worker.url}/v1/infer", body(kind, turn, cache_salt="turns")).json()
    alone = ask("POST", f"{worker.url}/v1/infer", body(kind, turn, deterministic=True)).json()
    assert warm["usage"]["cached_tokens"] >= cold["usage"]["prompt_tokens"]
    assert ids(warm) == ids(alone)


def test_streams_that_see_do_not_mix(eye: tuple[Started, Kind]) -> None:
    worker, kind = eye
    asked: list[Parts] = [[f"{seed}: ", seed, "and ", seed + 1, "?"] for seed in range(10, 16)]
    asked += [["no picture here ", str(number)] for number in range(3)]
    apart = [infer(worker, kind, parts, deterministic=True, logprobs=2) for parts in asked]
    with ThreadPoolExecutor(len(asked)) as pool:
        ask_beside = partial(infer, worker, kind, cache_salt="mix", logprobs=2)
        together = list(pool.map(ask_beside, asked))
    assert all(map(alike, apart, together))
    assert not alike(apart[0], apart[1])
    until(lambda: status(worker.url)["busy"] == 0)


def test_choices_share_one_picture(eye: tuple[Started, Kind]) -> None:
    worker, kind = eye
    answer = infer(worker, kind, ["a ", 7, "b"], n=3, cache_salt="n")
    first, *others = (choice["token_ids"] for choice in answer["choices"])
    assert all(other == first for other in others)


def test_a_stream(llava: Started) -> None:
    asked = body("llava", said(["What is ", 1, "this?"]), stream=True)
    with listening("POST", f"{llava.url}/v1/infer", asked) as (_, events):
        kinds = [event["type"] for _, event in events]
    assert kinds[-1] == "done" and "token" in kinds


def test_penalties_drafts_and_schemas_pass_over_pictures(llava: Started) -> None:
    fields = {
        "repeat_penalty": 1.3,
        "repeat_last_n": -1,
        "dry_multiplier": 0.8,
        "xtc_probability": 0,
    }
    infer(llava, "llava", ["aaa ", 1, "bbb ", 1, "ccc"], **fields)
    answer = infer(llava, "llava", ["a ", 1, "b"], regex="[ab]{5}", ignore_eos=False)
    assert len(answer["choices"][0]["text"]) == 5


@pytest.mark.parametrize(
    ("bad", "status", "says"),
    [
        ("http://127.0.0.1:9/a.png", 400, "never fetched"),
        ("https://127.0.0.1:9/a.png", 400, "never fetched"),
        (url(png_of(20_000, 20_000)), 413, "too many pixels"),
        (url(encoded(Image.new("1", (20_000, 20_000)))), 413, "too many pixels"),
        (url(b"<svg/>", "image/svg+xml"), 400, "SVG"),
        (url(encoded(noise())[:70]), 400, "no image that can be read"),
        ("data:image/png;base64,!", 400, "not base64"),
        ("", 400, "data: URL"),
    ],
    ids=range(8),
)
def test_a_bad_picture_is_refused_and_nothing_else_happens(
    llava: Started, bad: str, status: int, says: str
) -> None:
    messages = said(["See: ", 1, "and "])
    messages[0]["content"].append(part(bad))
    found = ask("POST", f"{llava.url}/v1/infer", body("llava", messages))
    assert found.status == status, found.body
    problem = found.json()["error"]
    assert says in json.dumps(problem)
    assert problem["param"].startswith("messages[0].content[3]")
    assert ids(infer(llava, "llava", ["still ", 1, "there?"]))


def test_a_huge_picture_is_refused_by_its_size(llava: Started) -> None:
    messages = said(["See: ", 1, "and "])
    messages[0]["content"].append(part("data:image/png;base64," + "A" * (10 * 2**20)))
    assert ask("POST", f"{llava.url}/v1/infer", body("llava", messages)).status == 413
    assert ids(infer(llava, "llava", ["still ", 1, "there?"]))


def test_what_is_too_long_with_its_pictures_is_refused(llava: Started) -> None:
    parts: Parts = ["x", 1, "y", 2, "z"] * 5
    found = ask("POST", f"{llava.url}/v1/infer", body("llava", said(parts)))
    assert found.status == 400, found.body
    assert found.json()["error"]["code"] == "context_length_exceeded"


def test_a_chat_that_ends_with_a_picture_is_answered(llava: Started) -> None:
    assert ids(infer(llava, "llava", ["x", 1]))  # the template has the last word


def test_a_chat_with_pictures_cannot_be_echoed(llava: Started) -> None:
    found = ask("POST", f"{llava.url}/v1/infer", body("llava", said(["x", 1]), echo=True))
    assert found.status == 400 and found.json()["error"]["param"] == "echo"


def test_apply_template_says_where_pictures_stand(llava: Started) -> None:
    asked = {"model": "llava", "messages": said(["a ", 1, " b"])}
    found = ask("POST", f"{llava.url}/apply-template", asked).json()
    assert found["prompt"] == "[user] a [image] b\n[assistant]"


def test_a_model_without_a_projector_says_that_it_cannot_see(bee_worker: Started) -> None:
    for path, asked in (
        ("/v1/infer", body("bee", said(["a ", 1, " b"]))),
        ("/tokenize", {"model": "bee", "messages": said(["a ", 1, " b"])}),
    ):
        found = ask("POST", f"{bee_worker.url}{path}", asked)
        assert found.status == 400, found.body
        problem = found.json()["error"]
        assert "without a projector" in problem["message"]
        assert problem["param"] == "messages[0].content[1]"
    assert not status(bee_worker.url)["sees"]


def test_a_template_that_knows_parts_alone(tmp_path: Path) -> None:
    files = pair(tmp_path, template=random.LISTS)
    with serving(model=files.model, projector=files.projector, model_id="llava", ctx=600) as worker:
        asked = {"model": "llava", "messages": said(["a ", 1, " b"])}
        found = ask("POST", f"{worker.url}/apply-template", asked).json()
        assert found["prompt"] == "[user] a [image] b\n[assistant]"
        assert ids(infer(worker, "llava", ["a ", 1, " b"]))
        plain = {"model": "llava", "messages": [{"role": "user", "content": "hello"}]}
        found = ask("POST", f"{worker.url}/apply-template", plain).json()
        assert found["prompt"] == "[user] hello\n[assistant]"


def test_a_shared_pool_sees_too(tmp_path: Path) -> None:
    """Also those that had to give up their place, and began anew with their pictures."""
    with seeing(tmp_path, "qwen2vl", kv_tokens=640) as worker:
        asked: list[Parts] = [[f"{seed}: " * 20, seed, "and ", seed, "?"] for seed in range(6)]
        fields: dict[str, Any] = {"max_tokens": 150, "logprobs": 2}
        apart = [infer(worker, "qwen2vl", p, deterministic=True, **fields) for p in asked]
        with ThreadPoolExecutor(6) as pool:
            together = list(pool.map(partial(infer, worker, "qwen2vl", **fields), asked))
        assert all(map(alike, apart, together))
        metrics = ask("GET", f"{worker.url}/metrics").body.decode()
    [preempted] = re.findall(r"^rbee_preempted_total (\S+)", metrics, re.MULTILINE)
    assert float(preempted) > 0


def test_a_projector_that_does_not_fit_is_a_clear_failure(tmp_path: Path) -> None:
    files = pair(tmp_path)
    wide = random.projector(tmp_path / "wide.gguf", width=64)
    for bad in (wide, files.model, tmp_path / "missing.gguf"):
        found = failing("--model", str(files.model), "--projector", str(bad))
        assert found.returncode == (2 if bad.name == "missing.gguf" else 1), found.stderr
        assert "projector" in found.stderr.splitlines()[-1] or "hint" in found.stderr
