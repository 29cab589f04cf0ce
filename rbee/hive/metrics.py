"""The hive's numbers for Prometheus, read from their owners when somebody asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import get_args

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from rbee.hive.catalog import Catalog
from rbee.hive.downloads import Downloads
from rbee.hive.lifecycle import ChildState
from rbee.hive.supervisor import Supervisor


class HiveMetrics(Collector):
    """A collector without state of its own."""

    def __init__(self, supervisor: Supervisor, catalog: Catalog, downloads: Downloads) -> None:
        self._supervisor = supervisor
        self._catalog = catalog
        self._downloads = downloads

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing yet: registering must not ask the owners."""
        yield from ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        states = Counter(worker.state for worker in self._supervisor.view())
        workers = GaugeMetricFamily("rbee_hive_workers", "Workers by state.", labels=["state"])
        for state in get_args(ChildState):
            workers.add_metric([state], states[state])
        yield workers
        entries = self._catalog.entries()
        yield GaugeMetricFamily("rbee_hive_models", "Models in the catalog.", value=len(entries))
        size = sum(entry.size for entry in entries)
        yield GaugeMetricFamily("rbee_hive_model_bytes", "Bytes of all models.", value=size)
        running = self._downloads.running
        yield GaugeMetricFamily("rbee_hive_downloads", "Downloads running now.", value=running)


def registry(supervisor: Supervisor, catalog: Catalog, downloads: Downloads) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(HiveMetrics(supervisor, catalog, downloads))
    return made
