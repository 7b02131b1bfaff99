"""What the server counts and how its parts do, in Prometheus' text format. Imported when that is first asked for."""

from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from tunelane_serving.server.metrics import Distribution, ServerMetrics
from tunelane_serving.server.services import Services

CONTENT_TYPE = CONTENT_TYPE_LATEST


def render(services: Services) -> bytes:
    """Give everything in the text format; its media type is `CONTENT_TYPE`."""
    services.metrics.fold()
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_ServerCollector(services))
    return generate_latest(registry)


class _ServerCollector(Collector):
    """Reads the server's parts when it is asked, so that what is told is what is."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        yield from _of_traffic(self._services.metrics)
        yield from _of_models(self._services)
        yield from _of_engine(self._services)
        yield from _of_events(self._services)
        yield from _of_drift(self._services)


def _of_traffic(metrics: ServerMetrics) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "tunelane_requests", "Requests answered, by route and HTTP status.", labels=["route", "status"]
    )
    for (route, status), count in list(metrics.requests.items()):
        requests.add_metric([route, str(status)], count)
    yield requests
    yield _histogram(
        "tunelane_request_duration_seconds",
        "Time from a request's headers to the last byte of its answer, by route.",
        "route",
        dict(metrics.request_seconds),
    )
    yield _counter(
        "tunelane_predictions",
        "Labels given to texts. A multi-label text counts once for each of its labels, or once under an empty "
        "label where it got none.",
        "label",
        metrics.predictions,
    )
    yield CounterMetricFamily(
        "tunelane_refused_connections",
        "Connections refused because too many were open.",
        metrics.refused_connections,
    )
    yield _counter(
        "tunelane_prediction_failures", "Predictions that failed, by model.", "model", metrics.prediction_failures
    )
    yield _histogram(
        "tunelane_prediction_confidence",
        "Confidence of the answer, one for each text.",
        "",
        {"": metrics.confidence},
    )


def _of_models(services: Services) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "tunelane_model_info",
        "1 for the model that answers; nothing where there is none.",
        labels=["model", "model_version", "digest", "variant"],
    )
    served = services.source.current
    if served is not None:
        info.add_metric([served.name, served.version, served.model.digest, served.model.variant], 1)
    yield info
    yield GaugeMetricFamily(
        "tunelane_fallback",
        "1 while keyword rules answer because no model could be loaded.",
        value=float(served is not None and served.is_fallback),
    )
    yield CounterMetricFamily(
        "tunelane_model_loads", "Revisions that were taken into service, the first included.", services.source.loads
    )
    yield CounterMetricFamily(
        "tunelane_model_load_failures",
        "Revisions and packages that could not be loaded; what answered before, or keyword rules, answer instead.",
        services.source.load_failures,
    )
    yield _histogram(
        "tunelane_model_load_seconds",
        "Time to verify, load and self-test a model, by whether it went well.",
        "ok",
        {str(ok).lower(): seconds for ok, seconds in services.metrics.load_seconds.items()},
    )


def _of_engine(services: Services) -> Iterator[Metric]:
    engine = services.engine
    yield GaugeMetricFamily("tunelane_queue_depth", "Items that wait for a worker.", engine.scheduler.waiting)
    yield GaugeMetricFamily("tunelane_workers", "Inference threads.", engine.scheduler.workers)
    yield _histogram(
        "tunelane_batch_size",
        "Items that went through the graph together.",
        "",
        {"": services.metrics.batch_size},
    )
    yield _histogram(
        "tunelane_queue_seconds",
        "Time that the first item of a batch waited for a worker.",
        "",
        {"": services.metrics.queue_seconds},
    )
    if engine.answers is not None:
        yield CounterMetricFamily("tunelane_answer_cache_hits", "Texts that were answered before.", engine.answers.hits)
        yield CounterMetricFamily("tunelane_answer_cache_misses", "Texts that were not.", engine.answers.misses)
        yield GaugeMetricFamily(
            "tunelane_answer_cache_bytes", "What the answers kept take in memory.", engine.answers.size_bytes
        )


def _of_events(services: Services) -> Iterator[Metric]:
    recorder = services.recorder
    if recorder is None:
        return
    yield GaugeMetricFamily("tunelane_events_waiting", "Inference events not yet written.", recorder.waiting)
    yield GaugeMetricFamily(
        "tunelane_events_in_journal", "Inference events in the local journal, for the database.", recorder.in_journal
    )
    yield CounterMetricFamily(
        "tunelane_events_dropped",
        "Inference events that were lost: queue or journal full, refused by the database, or torn in the journal.",
        recorder.dropped,
    )
    yield GaugeMetricFamily(
        "tunelane_database_away", "1 while the database does not answer.", float(recorder.database_away)
    )


def _of_drift(services: Services) -> Iterator[Metric]:
    last = services.drift_watch.last if services.drift_watch is not None else None
    psi = GaugeMetricFamily(
        "tunelane_drift_psi", "Population stability index of the last 24 hours, by distribution.", labels=["name"]
    )
    threshold = GaugeMetricFamily(
        "tunelane_drift_threshold", "The index above which it is called drift.", labels=["name"]
    )
    for feature in last.features if last is not None else ():
        if feature.psi is not None and feature.threshold is not None:
            psi.add_metric([feature.name], feature.psi)
            threshold.add_metric([feature.name], feature.threshold)
    yield psi
    yield threshold


def _counter(name: str, text: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in list(counts.items()):
        family.add_metric([value], count)
    return family


def _histogram(name: str, text: str, label: str, distributions: Mapping[str, Distribution]) -> HistogramMetricFamily:
    """Make a histogram of each distribution, by the label's value; an empty label's name stands for one without."""
    family = HistogramMetricFamily(name, text, labels=[label] if label else None)
    for value, distribution in distributions.items():
        counts, total = distribution.read()
        bounds = [*(f"{float(bound)}" for bound in distribution.bounds), "+Inf"]
        buckets = list(zip(bounds, map(float, accumulate(counts)), strict=True))
        family.add_metric([value] if label else [], buckets, total)
    return family
