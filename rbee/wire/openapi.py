"""The route table as values: one list makes both the routes and `/v1/openapi.json`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from rbee import __version__
from rbee.contracts.answers import ProblemReply
from rbee.wire.replies import reply

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Endpoint:
    """One method of one path. `body` and `answer` are contract types, or None where there is none;
    `media` is the answer's type when it is not JSON."""

    method: str
    path: str
    handler: Handler
    summary: str
    body: Any = None
    answer: Any = None
    media: str = "application/json"
    query: tuple[str, ...] = field(default=())


def routes(endpoints: Sequence[Endpoint], title: str) -> list[BaseRoute]:
    """Starlette's routes for `endpoints`, and the document that describes them."""
    document = describe(endpoints, title)

    async def openapi(request: Request) -> Response:
        return reply(document)

    made: list[BaseRoute] = [Route(e.path, e.handler, methods=[e.method]) for e in endpoints]
    return [*made, Route("/v1/openapi.json", openapi, methods=["GET"])]


def describe(endpoints: Sequence[Endpoint], title: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a role."""
    types = [t for e in endpoints for t in (e.body, e.answer) if t is not None] + [ProblemReply]
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    by_type = {id(t): schema for t, schema in zip(types, schemas, strict=True)}
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        path = endpoint.path.replace(":path}", "}")
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, path, by_type)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": __version__},
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(endpoint: Endpoint, path: str, schemas: dict[int, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {endpoint.media: {}}
    if endpoint.answer is not None:
        content = {endpoint.media: {"schema": schemas[id(endpoint.answer)]}}
    problem = {"$ref": "#/components/schemas/ProblemReply"}
    made: dict[str, Any] = {
        "summary": endpoint.summary,
        "parameters": _parameters(endpoint, path),
        "responses": {
            "200": {"description": "The answer.", "content": content},
            "default": {
                "description": "An error.",
                "content": {"application/json": {"schema": problem}},
            },
        },
    }
    if endpoint.body is not None:
        body = {"application/json": {"schema": schemas[id(endpoint.body)]}}
        made["requestBody"] = {"required": True, "content": body}
    return made


def _parameters(endpoint: Endpoint, path: str) -> list[dict[str, Any]]:
    inside = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    text = {"type": "string"}
    return [{"name": n, "in": "path", "required": True, "schema": text} for n in inside] + [
        {"name": n, "in": "query", "required": False, "schema": text} for n in endpoint.query
    ]
