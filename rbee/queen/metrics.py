"""What Prometheus is told of the queen. Model labels are ids that the fleet knows, never text that
a client made up: their number is bounded."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from rbee.contracts.fleet import QueueStatus
from rbee.queen.admission import RefusedWhy

FIRST_TOKEN_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """The queen's numbers; `queue` is asked when they are read."""

    def __init__(self, queue: Callable[[], QueueStatus]) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "rbee_requests",
            "Requests by model and outcome (ok, or the code of the error)",
            ("model", "outcome"),
            registry=self.registry,
        )
        self._first = Histogram(
            "rbee_first_token_seconds",
            "From arrival to the first token",
            ("model",),
            buckets=FIRST_TOKEN_S,
            registry=self.registry,
        )
        self._migrations = Counter(
            "rbee_migrations",
            "Answers that went on with another worker",
            registry=self.registry,
        )
        self._retries = Counter(
            "rbee_retries",
            "Requests that were asked again elsewhere before anything was said",
            registry=self.registry,
        )
        self._quarantined = Counter(
            "rbee_quarantined",
            "Requests under whose trial a second worker crashed",
            registry=self.registry,
        )
        self._refused = Counter(
            "rbee_refused",
            "Requests that were sent away: no room (full), too long a wait (slow, deadline),"
            " poison, too many retries of others (budget)",
            ("why",),
            registry=self.registry,
        )
        waiting = Gauge("rbee_queue_waiting", "Requests that wait", registry=self.registry)
        waiting.set_function(lambda: queue().waiting)
        leased = Gauge("rbee_leases", "Slots that requests hold", registry=self.registry)
        leased.set_function(lambda: queue().leased)

    def ended(self, model: str, outcome: str) -> None:
        """A request ended; `model` is empty when none was found for it."""
        self._requests.labels(model, outcome).inc()

    def migrated(self) -> None:
        self._migrations.inc()

    def retried(self) -> None:
        self._retries.inc()

    def quarantined(self) -> None:
        self._quarantined.inc()

    def refused(self, why: RefusedWhy) -> None:
        self._refused.labels(why).inc()

    def first_token(self, model: str, seconds: float) -> None:
        self._first.labels(model).observe(seconds)
