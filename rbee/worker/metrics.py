"""The worker's numbers for Prometheus, read off the service when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rbee.worker.service import Service


def registry(service: Service) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(_Collector(service))
    return made


class _Collector(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterable[Metric]:
        service, engine = self._service, self._service.engine
        counters = {
            "rbee_requests": ("Requests accepted", service.requests),
            "rbee_prompt_tokens": ("Prompt tokens read", service.tokens_in),
            "rbee_generated_tokens": ("Tokens generated", service.tokens_out),
            "rbee_engine_steps": ("Engine steps", engine.steps),
        }
        gauges = {
            "rbee_slots": ("Slots there are", float(service.model.slots)),
            "rbee_slots_busy": ("Slots in use", float(engine.busy)),
            "rbee_waiting": ("Sequences waiting for a slot", float(engine.waiting)),
            "rbee_step_age_seconds": ("Age of the current engine step", engine.step_age_s),
        }
        for name, (text, value) in counters.items():
            yield CounterMetricFamily(name, text, value)
        for name, (text, number) in gauges.items():
            yield GaugeMetricFamily(name, text, number)
