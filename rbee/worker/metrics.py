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
        counted, planner = engine.counters, engine.planner
        counters: dict[str, tuple[str, float]] = {
            "rbee_requests": ("Requests accepted", service.requests),
            "rbee_prompt_tokens": ("Prompt tokens read", service.tokens_in),
            "rbee_generated_tokens": ("Tokens generated", service.tokens_out),
            "rbee_cached_tokens": ("Prompt tokens found computed", service.tokens_cached),
            "rbee_engine_steps": ("Engine steps", counted.steps),
            "rbee_engine_step_seconds": ("Time spent in engine steps", counted.step_s),
            "rbee_engine_decode_seconds": ("Of it, time inside llama.cpp", counted.decode_s),
            "rbee_preempted": ("Sequences that had to give up their memory", planner.preempted),
            "rbee_evicted": ("Kept prompts given up for others", planner.slots.evicted),
            "rbee_drafted_tokens": ("Tokens guessed ahead", counted.drafted),
            "rbee_drafted_tokens_true": ("Guessed tokens that came true", counted.drafts_true),
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
