"""What /metrics tells Prometheus."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
ROWS = (1, 2, 4, 8, 16, 32)


class Metrics:
    """Counters of one server; names begin with jaxvision_."""

    def __init__(self):
        self.registry = CollectorRegistry()
        made = {"registry": self.registry, "namespace": "jaxvision"}
        by = ["model", "endpoint"]
        self.requests = Counter(
            "requests", "Requests, by the status of their answer.", [*by, "status"], **made
        )
        self.errors = Counter("errors", "Predictions that failed (status 500).", ["model"], **made)
        self.seconds = Histogram(
            "request_seconds", "From a request's first byte to its answer.", by, buckets=SECONDS,
            **made,
        )  # fmt: skip
        self.batch_rows = Histogram(
            "batch_rows", "Inputs that went through the model together.", ["model"], buckets=ROWS,
            **made,
        )  # fmt: skip
        self.batch_seconds = Histogram(
            "batch_seconds", "Time of the model for a batch.", ["model"], buckets=SECONDS, **made
        )
        self.queue = Gauge("queue_rows", "Inputs that wait for the model.", ["model"], **made)
        self.places = Gauge("requests_in_work", "Requests that wait or are in work.", **made)
        self.frames = Counter("frames", "Frames of live cameras.", ["model", "answer"], **made)
        self.cameras = Gauge("cameras", "Live connections.", **made)
        self.ready = Gauge("ready", "Whether the model is ready.", ["model"], **made)
        self.step = Gauge("model_step", "The step of training that is served.", ["model"], **made)
        self._children: dict[tuple, Any] = {}

    def count(self, model: str, endpoint: str, status: int, seconds: float) -> None:
        """An answered request. Labels are looked up once: that takes longer than counting."""
        key = (model, endpoint, status)
        if key not in self._children:
            requests = self.requests.labels(model, endpoint, str(status))
            self._children[key] = requests, self.seconds.labels(model, endpoint)
        requests, histogram = self._children[key]
        requests.inc()
        histogram.observe(seconds)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)
