"""What a server did, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Figures:
    """The figures of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("t2i_judge_requests", "Answered requests for judgements", ["status"], registry=registry)
        self.items = Counter("t2i_judge_items", "Judged items", ["judge", "status"], registry=registry)
        self.calls = Counter(
            "t2i_judge_judge_calls", "Calls of a judge, each with one batch", ["judge"], registry=registry
        )
        self.busy = Counter("t2i_judge_judge_seconds", "Seconds that judges were busy", ["judge"], registry=registry)
        self.again = Counter(
            "t2i_judge_repeated_items", "Items whose judgement was already known or in progress", registry=registry
        )
        self.batches = Histogram(
            "t2i_judge_batch_items", "Items per call", ["judge"], buckets=_SIZES, registry=registry
        )
        self.seconds = Histogram(
            "t2i_judge_request_seconds", "Seconds per request for judgements", buckets=_SECONDS, registry=registry
        )
        self.waiting = Gauge("t2i_judge_queue_items", "Items that are accepted and not answered yet", registry=registry)

    def judged(self, name: str, items: int, seconds: float) -> None:
        """A call of a judge is over."""
        self.calls.labels(name).inc()
        self.busy.labels(name).inc(seconds)
        self.batches.labels(name).observe(items)

    def text(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self.registry)
