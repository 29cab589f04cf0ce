"""What every role answers beside its own routes: errors, health and the document of its API."""

from __future__ import annotations

import asyncio
import json
import re

import aiohttp
import pytest
from starlette.requests import Request
from starlette.responses import Response

from rbee.contracts.answers import Deleted, JobView
from rbee.contracts.events import AnyEvent
from rbee.contracts.operations import AnyOperation
from rbee.wire.openapi import Endpoint, describe
from rbee.wire.replies import reply
from tests.wire.harness import application_of, serving

pytestmark = pytest.mark.anyio


async def _fine(request: Request) -> Response:
    return reply(Deleted("x"))


async def _crash(request: Request) -> Response:
    raise LookupError("a secret inside")


ENDPOINTS = [
    Endpoint("POST", "/v1/jobs", _fine, "Do", AnyOperation, JobView),
    Endpoint("GET", "/v1/jobs/{job_id}/stream", _fine, "Read", None, AnyEvent, query=("from",)),
    Endpoint("GET", "/v1/models/{model:path}", _fine, "A model"),
    Endpoint("GET", "/crash", _crash, "Crash"),
]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("PUT", "/health", 405, "method_not_allowed"),
        ("GET", "/ui/../secret", 404, "not_found"),
        ("GET", "/ui/%2e%2e%2ferrors.py", 404, "not_found"),
        ("GET", "/ui/__init__.py", 404, "not_found"),
        ("GET", "/crash", 500, "internal_error"),
    ],
)
async def test_errors_have_the_envelope(method: str, path: str, status: int, code: str) -> None:
    async with serving(application_of(ENDPOINTS)) as url, aiohttp.ClientSession() as http:
        async with http.request(method, f"{url}{path}") as answer:
            body = await answer.json()
            assert (answer.status, body["error"]["code"]) == (status, code)
            assert "secret" not in body["error"]["message"] or "/secret" in path
            if status == 405:
                assert "GET" in answer.headers["Allow"]
        async with http.get(f"{url}/health") as answer:
            assert (await answer.json())["status"] == "ok"


async def test_the_tasks_of_the_event_loop_are_counted() -> None:
    """Each, from its beginning to its end, whoever began it."""
    async with serving(application_of(ENDPOINTS)) as url, aiohttp.ClientSession() as http:

        async def tasks() -> int:
            async with http.get(f"{url}/metrics") as answer:
                [count] = re.findall(r"^rbee_tasks (\d+)", await answer.text(), re.MULTILINE)
            return int(float(count))

        before = await tasks()
        assert before >= 2, "this one, and the one that answers"
        forgotten = [asyncio.ensure_future(asyncio.sleep(60)) for _ in range(7)]
        assert await tasks() == before + 7
        for task in forgotten:
            task.cancel()
        await asyncio.wait(forgotten)
        assert await tasks() == before


async def test_health_metrics_and_names_with_slashes() -> None:
    async with serving(application_of(ENDPOINTS)) as url, aiohttp.ClientSession() as http:
        for path in ("/health", "/ready", "/metrics", "/v1/openapi.json", "/v1/models/a/b/c.gguf"):
            async with http.get(f"{url}{path}") as answer:
                assert answer.status == 200, path
            async with http.head(f"{url}{path}") as answer:
                assert answer.status == 200, path


async def test_the_document_refers_to_nothing_that_is_missing() -> None:
    document = describe(ENDPOINTS, "test")
    text = json.dumps(document)
    known = set(document["components"]["schemas"])
    assert set(re.findall(r"#/components/schemas/(\w+)", text)) <= known
    assert "WorkerSpawn" in known and "Token" in known
    assert "/v1/models/{model}" in document["paths"]
    stream = document["paths"]["/v1/jobs/{job_id}/stream"]["get"]
    assert [(p["name"], p["in"]) for p in stream["parameters"]] == [
        ("job_id", "path"),
        ("from", "query"),
    ]
