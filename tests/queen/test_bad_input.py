"""What a queen says to requests that are wrong, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from rbee.wire.codec import plain
from tests.http import ask
from tests.queen.conftest import queen, stub_hive
from tests.queen.fleets import hive, worker

OK: dict[str, Any] = {"operation": "infer", "model": "bee", "prompt": "x"}


def error(url: str, body: Any, **more: Any) -> tuple[int, dict[str, Any]]:
    answer = ask("POST", f"{url}/v1/jobs", body, **more)
    found: dict[str, Any] = answer.json()["error"]
    return answer.status, found


def test_not_json(a_queen: str) -> None:
    deep = b'{"operation": "infer", "model": "m", "json_schema": ' + b'{"a":' * 100_000
    for body in (b"{", b"\xff\xfe", b"", deep, b'{"operation": "infer", "model": NaN}'):
        status, found = error(a_queen, body)
        assert (status, found["code"]) == (400, "invalid_json"), body[:20]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"operation": "dance"}, "operation"),
        ({"surprise": 1}, "surprise"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"max_tokens": 2**40}, "max_tokens"),
        ({"seed": 2**70}, "seed"),
        ({"n": 0}, "n"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"messages": [{"role": "bee", "content": "x"}], "prompt": None}, "messages[0].role"),
        ({"prompt": None}, "prompt"),
        ({"messages": [{"role": "user", "content": "x"}]}, "prompt"),
        ({"hive_id": "../etc"}, "hive_id"),
        ({"model": ""}, "model"),
        ({"model": "x" * 10_000}, "model"),
    ],
)
def test_a_bad_field_is_a_422_with_its_path(
    a_queen: str, change: dict[str, Any], path: str
) -> None:
    status, found = error(a_queen, {**OK, **change})
    assert status == 422
    assert found["param"].startswith(path)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\0b", "a\\b", "a b", "é"])
def test_names_that_are_no_names(a_queen: str, name: str) -> None:
    status, found = error(a_queen, {**OK, "model": name})
    assert (status, found["param"]) == (400, "model")
    chat = {"model": name, "messages": [{"role": "user", "content": "x"}]}
    assert ask("POST", f"{a_queen}/v1/chat/completions", chat).status == 400


def test_an_unknown_model_is_a_404_naming_the_known_and_a_way(a_queen: str) -> None:
    for stream in (True, False):
        status, found = error(a_queen, {**OK, "model": "nobody", "stream": stream})
        assert (status, found["code"]) == (404, "model_not_found")
        assert "bee, slow-model" in found["message"]
        assert "rbee model download" in found["hint"]


def test_hives_workers_and_devices_that_nobody_has() -> None:
    with queen() as q, stub_hive(q.url):
        for field, code in [
            ("hive_id", "hive_not_found"),
            ("worker_id", "worker_not_found"),
            ("device", "not_found"),
        ]:
            status, found = error(q.url, {**OK, field: "nobody"})
            assert (status, found["code"], found["param"]) == (404, code, field)
        assert "stub-hive" in error(q.url, {**OK, "hive_id": "nobody"})[1]["message"]


def test_a_queen_alone_says_how_to_start_a_hive() -> None:
    with queen(settle_s=0.1) as q:
        status, found = error(q.url, OK)
        assert (status, found["code"]) == (503, "no_hive")
        assert "rbee up" in found["hint"]


def test_a_body_too_large(a_queen: str) -> None:
    big = b'{"operation": "infer", "prompt": "' + b"x" * 10_000_000 + b'"}'
    for path in ("/v1/jobs", "/v1/chat/completions"):
        answer = ask("POST", a_queen + path, big)
        assert answer.status == 413
        assert answer.json()["error"]["code"] == "too_large"


def test_a_foreign_host_or_origin_or_media_type(a_queen: str) -> None:
    assert error(a_queen, OK, headers={"Host": "evil.example"})[0] == 403
    assert error(a_queen, OK, headers={"Origin": "http://evil.example"})[0] == 403
    assert error(a_queen, OK, headers={"Content-Type": "text/plain"})[0] == 415


def test_unknown_paths_and_methods(a_queen: str) -> None:
    assert ask("GET", f"{a_queen}/nowhere").status == 404
    assert ask("DELETE", f"{a_queen}/v1/heartbeats").status == 405


def test_heartbeats_are_checked(a_queen: str) -> None:
    answer = ask("POST", f"{a_queen}/v1/heartbeats", {"from": "worker", "id": "a b"})
    assert answer.status == 422


@pytest.mark.parametrize("url", ["", "http://[", "http://h:x", "http://:80", "file:///etc/passwd"])
def test_a_heartbeat_from_nowhere_is_refused_and_the_fleet_still_seen(
    a_queen: str, url: str
) -> None:
    for beat in (hive("nowhere", url=url), worker("nowhere", url=url)):
        answer = ask("POST", f"{a_queen}/v1/heartbeats", plain(beat))
        assert (answer.status, answer.json()["error"]["param"]) == (422, "url")
    assert ask("GET", f"{a_queen}/v1/status").status == 200


@pytest.mark.parametrize("operation", ["worker_spawn", "model_download", "model_list"])
def test_lifecycle_operations_are_refused_naming_the_hive(operation: str) -> None:
    with queen() as q, stub_hive(q.url) as stub:
        body = {"operation": operation, "model": "bee"}
        if operation == "model_list":
            del body["model"]
        status, found = error(q.url, body)
        assert (status, found["code"]) == (421, "misdirected")
        assert f"stub-hive at {stub.url}" in found["message"]
        assert found["hint"] == f"send it to {stub.url}/v1/jobs"
        assert error(q.url, {**body, "hive_id": "stub-hive"})[0] == 421
