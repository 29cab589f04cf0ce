"""What every role's application has: web page, health, metrics, the guard, the error replies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from types import MappingProxyType
from typing import Literal

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from rbee import __version__
from rbee.contracts.answers import Health
from rbee.errors import NotFound
from rbee.wire.guard import Guard
from rbee.wire.openapi import Endpoint, routes
from rbee.wire.replies import HANDLERS, reply

RoleName = Literal["queen", "hive", "worker"]
_ASSETS = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


def application(
    role: RoleName,
    own_id: str,
    endpoints: Sequence[Endpoint],
    *,
    hosts: frozenset[str],
    ready: Callable[[], bool],
    metrics: CollectorRegistry,
    max_body_bytes: int,
    wider: Mapping[str, int] = MappingProxyType({}),
) -> ASGIApp:
    """The role's app: its endpoints and the common ones, behind the guard. `metrics` becomes its
    own. `wider`: paths whose bodies may be larger by so many bytes."""
    metrics.register(_Tasks())
    common = _Common(role, own_id, ready, metrics)
    app = Starlette(
        routes=routes([*endpoints, *common.endpoints()], f"rbee {role}"),
        exception_handlers=HANDLERS,
    )
    return Guard(app, hosts, max_body_bytes, wider)


class _Tasks(Collector):
    """A task that nobody waits for is seen nowhere else."""

    def collect(self) -> Iterable[Metric]:
        count = len(asyncio.all_tasks())
        yield GaugeMetricFamily("rbee_tasks", "Tasks of the process's event loop", count)


class _Common:
    def __init__(
        self, role: RoleName, own_id: str, ready: Callable[[], bool], metrics: CollectorRegistry
    ) -> None:
        self._role: RoleName = role
        self._id = own_id
        self._ready = ready
        self._metrics = metrics

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/health", self.health, "Alive", answer=Health),
            Endpoint("GET", "/ready", self.ready, "Can serve", answer=Health),
            Endpoint("GET", "/metrics", self.metrics, "Prometheus", media="text/plain"),
            Endpoint("GET", "/", self.page, "The role's page", media="text/html"),
            Endpoint("GET", "/ui/{name}", self.asset, "Parts of the page", media="text/plain"),
        ]

    async def health(self, request: Request) -> Response:
        return reply(Health("ok", self._role, self._id, __version__))

    async def ready(self, request: Request) -> Response:
        ready = self._ready()
        state: Literal["ok", "draining"] = "ok" if ready else "draining"
        return reply(Health(state, self._role, self._id, __version__), 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        return Response(generate_latest(self._metrics), media_type=CONTENT_TYPE_LATEST)

    async def page(self, request: Request) -> Response:
        return _file(f"{self._role}.html")

    async def asset(self, request: Request) -> Response:
        return _file(request.path_params["name"])


def _file(name: str) -> Response:
    """A file of `rbee/ui`, by its bare name; the folder's own listing decides what exists."""
    for entry in files("rbee.ui").iterdir():
        kind = _ASSETS.get(name[name.rfind(".") :])
        if entry.name == name and kind is not None:
            security = {
                "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'",
                "X-Content-Type-Options": "nosniff",
                "Cache-Control": "no-cache",
            }
            return Response(entry.read_bytes(), 200, security, f"{kind}; charset=utf-8")
    raise NotFound(f"No page {name[:80]!r}.")
