"""What Prometheus reads: requests by route and status, their time, batches, the queue, and loads of models."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192)
SIZES = (1, 2, 4, 8, 16, 32, 64)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "netwright_requests", "Requests by route and status.", ["route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "netwright_request_seconds", "From a request's last byte to its reply.", ["route"], buckets=SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self._sizes = Histogram(
            "netwright_batch_size", "Inputs that a model got at once.", ["model"], buckets=SIZES, registry=self.registry
        )
        self._queue = Gauge("netwright_queue_length", "Inputs that wait.", ["model"], registry=self.registry)
        self._loads = Counter(
            "netwright_model_loads", "Bundles opened: loaded, replaced or refused.", ["model", "outcome"],
            registry=self.registry,
        )  # fmt: skip
        self._connections = Gauge("netwright_connections", "Connections that are open.", registry=self.registry)
        # Looking a child up by its labels takes a third of counting.
        self._kept: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one request; ``route`` is one of the server's own, never what a client wrote."""
        pair = self._kept.get((route, status))
        if pair is None:
            pair = self._requests.labels(route, str(status)), self._seconds.labels(route)
            self._kept[route, status] = pair
        pair[0].inc()
        pair[1].observe(seconds)

    def batches(self, model: str) -> Callable[[int], None]:
        """What counts the batches of a model."""
        observe: Callable[[int], None] = self._sizes.labels(model).observe
        return observe

    def queue(self, model: str, length: Callable[[], int]) -> None:
        """Where the length of a model's queue is read."""
        self._queue.labels(model).set_function(lambda: float(length()))

    def connections(self, count: Callable[[], int]) -> None:
        """Where the count of connections is read."""
        self._connections.set_function(lambda: float(count()))

    def load(self, model: str, outcome: str) -> None:
        """Count that a bundle was loaded, replaced or refused."""
        self._loads.labels(model, outcome).inc()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
