"""What the service counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_PICTURES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Counter(
            "residuum_requests", "Requests answered.", ["path", "status"], registry=self._registry
        )  # fmt: skip
        self.seconds = Histogram(
            "residuum_request_seconds", "From the headers to the answer.", ["path"], buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self.pictures = Counter("residuum_pictures", "Pictures classified.", ["model"], registry=self._registry)
        self.unreadable = Counter("residuum_pictures_unreadable", "Pictures refused.", registry=self._registry)
        self.batch = Histogram(
            "residuum_batch_pictures", "Pictures computed at once.", buckets=_PICTURES, registry=self._registry
        )  # fmt: skip
        self.compute = Counter("residuum_compute_seconds", "Time the engine has worked.", registry=self._registry)

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        Gauge(name, text, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        return generate_latest(self._registry)
