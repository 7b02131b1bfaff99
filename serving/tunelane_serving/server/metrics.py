"""What the server counts, for Prometheus: requests, predictions, the model that answers, and the process."""

import time
from collections.abc import Collection, Iterable, Iterator
from functools import cache

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunelane_serving.server.champion import ChampionSource
from tunelane_serving.server.wire import Prediction

CONTENT_TYPE = CONTENT_TYPE_LATEST

_LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_CONFIDENCE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
# A path that is no route is anything that a client makes up; each as a label of its own would fill the memory.
_NO_ROUTE = "other"


class ServerMetrics:
    """The metrics of one application, in a registry of their own. Written to by its event loop alone."""

    def __init__(self, source: ChampionSource) -> None:
        self._registry = CollectorRegistry()
        requests = Counter(
            "tunelane_requests",
            "Requests answered, by route and HTTP status.",
            ["route", "status"],
            registry=self._registry,
        )
        duration = Histogram(
            "tunelane_request_duration_seconds",
            "Time from a request's headers to the last byte of its answer, by route.",
            ["route"],
            registry=self._registry,
            buckets=_LATENCY_BUCKETS_S,
        )
        predictions = Counter(
            "tunelane_predictions",
            "Labels given to texts. A multi-label text counts once for each of its labels, or once under an empty "
            "label where it got none.",
            ["label"],
            registry=self._registry,
        )
        self._confidence = Histogram(
            "tunelane_prediction_confidence",
            "Confidence of the answer, one for each text.",
            registry=self._registry,
            buckets=_CONFIDENCE_BUCKETS,
        )
        ProcessCollector(registry=self._registry)
        self._registry.register(_ModelCollector(source))
        # prometheus_client looks a series up by its labels under a lock, each time; here it is looked up once.
        self._requests = cache(requests.labels)
        self._duration = cache(duration.labels)
        self._predictions = cache(predictions.labels)

    def count_request(self, route: str, status: int, duration_s: float) -> None:
        """Count a request that has its answer."""
        self._requests(route, status).inc()
        self._duration(route).observe(duration_s)

    def count_predictions(self, predictions: Iterable[Prediction]) -> None:
        """Count the labels and the confidence of answers that are about to be sent."""
        for prediction in predictions:
            for label in prediction.labels or ("",):
                self._predictions(label).inc()
            self._confidence.observe(prediction.confidence)

    def render(self) -> bytes:
        """Give everything in Prometheus' text format; its media type is `CONTENT_TYPE`."""
        return generate_latest(self._registry)


class CountRequests:
    """ASGI middleware: counts what the application answers, errors included."""

    def __init__(self, app: ASGIApp, metrics: ServerMetrics, routes: Collection[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count it when it has ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # What raises on its way through here becomes a 500 further out.
        status = 500
        started_s = time.perf_counter()

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noting_status)
        finally:
            path = scope["path"]
            route = path if path in self._routes else _NO_ROUTE
            self._metrics.count_request(route, status, time.perf_counter() - started_s)


class _ModelCollector(Collector):
    """Reads the model source when it is asked, so that what is told is what serves."""

    def __init__(self, source: ChampionSource) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        champion = self._source.current
        info = GaugeMetricFamily(
            "tunelane_model_info",
            "1 for the model that answers; nothing where there is none.",
            labels=["model", "model_version", "digest", "variant"],
        )
        if champion is not None:
            classifier = champion.classifier
            info.add_metric([champion.model, champion.model_version, classifier.digest, classifier.variant], 1)
        yield info
        yield CounterMetricFamily(
            "tunelane_model_loads", "Revisions that were taken into service, the first included.", self._source.loads
        )
        yield CounterMetricFamily(
            "tunelane_model_load_failures",
            "Active revisions that could not be loaded; the one before them went on answering.",
            self._source.load_failures,
        )
