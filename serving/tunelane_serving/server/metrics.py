"""What the server counts. Counting is on the hot path, so it is cheap; `exposition` makes Prometheus' text of it."""

import threading
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import suppress

from tunelane_serving.server.served import Served
from tunelane_serving.server.wire import Prediction

_LATENCY_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LOAD_BOUNDS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_CONFIDENCE_BOUNDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
_BATCH_BOUNDS = (1, 2, 4, 8, 16, 32)
# Folding so many takes a millisecond or two.
_MAX_NOTED = 1000


class Distribution:
    """How often values fell between bounds, and their sum. Safe to add to from several threads."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """Take upper bounds, which belong to their bins; above the last one there is a bin more."""
        self.bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._adding = threading.Lock()

    def add(self, value: float) -> None:
        """Count one value."""
        position = bisect_left(self.bounds, value)
        with self._adding:
            self._counts[position] += 1
            self._sum += value

    def read(self) -> tuple[list[int], float]:
        """Give the counts by bin and the sum of all values."""
        with self._adding:
            return list(self._counts), self._sum


class ServerMetrics:
    """The figures of one application.

    Requests and predictions are counted by its event loop alone, batches by the workers, loads by whoever loads.

    Beside inference nothing is in the processor's caches, and what takes 10 µs in a loop of its own takes several times
    that in each request. So a request only notes what there is to count; `fold` counts many of them at a time.
    """

    def __init__(self) -> None:
        self.requests: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.request_seconds = defaultdict[str, Distribution](lambda: Distribution(_LATENCY_BOUNDS_S))
        self.predictions: defaultdict[str, int] = defaultdict(int)
        self.prediction_failures: defaultdict[str, int] = defaultdict(int)
        self.confidence = Distribution(_CONFIDENCE_BOUNDS)
        self.batch_size = Distribution(_BATCH_BOUNDS)
        self.queue_seconds = Distribution(_LATENCY_BOUNDS_S)
        self.refused_connections = 0
        self._noted_requests: list[tuple[str, int, float]] = []
        self._noted_batches: deque[tuple[int, float]] = deque()
        self._noted_predictions: list[tuple[tuple[str, ...], float | None]] = []
        self.load_seconds = {ok: Distribution(_LOAD_BOUNDS_S) for ok in (True, False)}

    def count_request(self, route: str, status: int, duration_s: float) -> None:
        """Count a request that has its answer."""
        self._noted_requests.append((route, status, duration_s))
        if len(self._noted_requests) >= _MAX_NOTED:
            self.fold()

    def count_refused_connection(self) -> None:
        """Count a connection past the limit."""
        self.refused_connections += 1

    def count_prediction(self, prediction: Prediction) -> None:
        """Count the labels and the confidence of an answer that is about to be sent."""
        self._noted_predictions.append((prediction.labels, prediction.confidence))
        if len(self._noted_predictions) >= _MAX_NOTED:
            self.fold()

    def fold(self) -> None:
        """Count what was noted; before the figures are read."""
        requests, self._noted_requests = self._noted_requests, []
        for route, status, duration_s in requests:
            self.requests[route, status] += 1
            self.request_seconds[route].add(duration_s)
        predictions, self._noted_predictions = self._noted_predictions, []
        for labels, confidence in predictions:
            if confidence is not None:
                for label in labels or ("",):
                    self.predictions[label] += 1
                self.confidence.add(confidence)
        self._fold_batches()

    def _fold_batches(self) -> None:
        # The workers note and fold at any time: what one takes out, no other finds.
        with suppress(IndexError):
            while True:
                size, queued_s = self._noted_batches.popleft()
                self.batch_size.add(size)
                self.queue_seconds.add(queued_s)

    def count_failure(self, served: Served) -> None:
        """Count a prediction that failed."""
        self.prediction_failures[served.name] += 1

    def count_batch(self, size: int, queued_s: float, _: float) -> None:
        """Count what a worker ran at once."""
        self._noted_batches.append((size, queued_s))
        if len(self._noted_batches) >= _MAX_NOTED:
            self._fold_batches()

    def count_load(self, _: str, duration_s: float, ok: bool) -> None:
        """Count a load of a model."""
        self.load_seconds[ok].add(duration_s)
